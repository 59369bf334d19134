"""Make a tokenizer for the tiny model: lower-cased word pieces, cut at spaces and punctuation.

python tokenizer.py OUT COLLECTION... [--teacher FOLDER] [--vocab-size 24576]

COLLECTION: a folder with corpus.jsonl; OUT gets tokenizer.json and tokenizer_config.json
With --teacher, pieces are those of the teacher's that the texts need most, and have its vectors as
they are: a word that no text of the training has still means something. Without, they are learned.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import WordPieceTrainer

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
MARKERS = ["[Q]", "[D]"]
_MOST_CHARS = 12_000_000  # of one collection, so that none decides alone what is a word
_AT_ONCE = 2000  # texts
_LONGEST = 2048  # tokens of a document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", type=Path, nargs="+")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--vocab-size", type=int, default=24_576)
    options = parser.parse_args()
    texts = (text for folder in options.collections for text in _some_texts(folder))
    if options.teacher:
        teacher = Tokenizer.from_file(str(options.teacher / "tokenizer.json"))
        tokenizer = cut_down(teacher, texts, vocab_size=options.vocab_size)
    else:
        tokenizer = train(texts, vocab_size=options.vocab_size)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.out / "tokenizer.json"))
    config = {
        # a class that transformers 4 and 5 both know
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": _LONGEST,
        **{f"{name}_token": token for name, token in SPECIAL.items()},
    }
    (options.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def train(texts: Iterator[str], *, vocab_size: int) -> Tokenizer:
    """Special tokens and markers have the first ids."""
    tokenizer = _new_tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL.values(), *MARKERS],
        limit_alphabet=200,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _with_ends(tokenizer)


def cut_down(teacher: Tokenizer, texts: Iterator[str], *, vocab_size: int) -> Tokenizer:
    """Special tokens and markers first, then the most frequent pieces in the teacher's order.

    Single ASCII characters stay, so that every English word has pieces.
    """
    teacher.no_padding()
    teacher.no_truncation()
    counts: Counter[str] = Counter()
    while batch := list(islice(texts, _AT_ONCE)):
        for encoding in teacher.encode_batch(batch):
            counts.update(encoding.tokens)
    first = [*SPECIAL.values(), *MARKERS]
    pieces = sorted(teacher.get_vocab(), key=teacher.token_to_id)
    pieces = [piece for piece in pieces if not (piece.startswith("[") and len(piece) > 1)]
    by_need = sorted(pieces, key=lambda piece: (not _is_character(piece), -counts[piece]))
    kept = set(by_need[: vocab_size - len(first)])
    vocab = {piece: i for i, piece in enumerate([*first, *(p for p in pieces if p in kept)])}
    tokenizer = _new_tokenizer(models.WordPiece(vocab, unk_token=SPECIAL["unk"]))
    tokenizer.add_special_tokens(first)
    return _with_ends(tokenizer)


def _new_tokenizer(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _with_ends(tokenizer: Tokenizer) -> Tokenizer:
    ends = {token: tokenizer.token_to_id(token) for token in (SPECIAL["cls"], SPECIAL["sep"])}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=list(ends.items())
    )
    return tokenizer


def _is_character(piece: str) -> bool:
    return piece.isascii() and len(piece.removeprefix("##")) == 1


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
