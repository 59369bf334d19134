"""Train the tiny model's tokenizer: lower-cased word pieces, cut at spaces and punctuation.

python tokenizer.py OUT COLLECTION... [--vocab-size 12000]

COLLECTION: a folder with corpus.jsonl; OUT gets tokenizer.json and tokenizer_config.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import WordPieceTrainer

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
MARKERS = ["[Q]", "[D]"]
_MOST_CHARS = 12_000_000  # of one collection, so that none decides alone what is a word
_LONGEST = 2048  # tokens of a document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", type=Path, nargs="+")
    parser.add_argument("--vocab-size", type=int, default=12_000)
    given = parser.parse_args()
    texts = (text for folder in given.collections for text in _some_texts(folder))
    tokenizer = train(texts, vocab_size=given.vocab_size)
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(given.out / "tokenizer.json"))
    config = {
        # a class that transformers 4 and 5 both know
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": _LONGEST,
        **{f"{name}_token": token for name, token in SPECIAL.items()},
    }
    (given.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def train(texts: Iterator[str], *, vocab_size: int) -> Tokenizer:
    """Special tokens and markers have the first ids."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL.values(), *MARKERS],
        limit_alphabet=200,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = {token: tokenizer.token_to_id(token) for token in (SPECIAL["cls"], SPECIAL["sep"])}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=list(ends.items())
    )
    return tokenizer


def _some_texts(folder: Path) -> Iterator[str]:
    n_chars = 0
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            n_chars += len(text)
            if n_chars > _MOST_CHARS:
                return
            yield text


if __name__ == "__main__":
    main()
