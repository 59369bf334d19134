"""The skiplist of Stanford checkpoints, whose rule is colbert-ai's."""

from __future__ import annotations

import string
from pathlib import Path

import checkpoints
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from colmodern import Encoder

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "[unused0]", "[unused1]"]
# as in XLM-R: marks are pieces of their own, and a few have a piece with the space before them
PIECES = ["▁", '▁"', "▁(", "▁-", *string.punctuation, "▁a", "▁list", "▁name", "▁date"]
PIECES += list(string.ascii_lowercase)


def write_sentencepiece(folder: Path) -> None:
    """Replace a checkpoint's tokenizer by one of SentencePiece's kind."""
    scores = [(piece, -2.0 - (len(piece) == 1)) for piece in PIECES]
    vocabulary = [*((special, 0.0) for special in SPECIALS), *scores]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    for file in folder.glob("*token*"):
        file.unlink()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=64,
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def stanford(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoints.stanford(tmp_path_factory.mktemp("xlm") / "model", "bert")
    write_sentencepiece(folder)
    return folder


def test_a_stanford_checkpoint_masks_the_first_piece_of_each_mark(stanford: Path) -> None:
    encoder = Encoder.from_pretrained(stanford)
    # {tokenizer.encode(mark, add_special_tokens=False)[0] for mark in string.punctuation}:
    # the lone space piece, and ▁" ▁( ▁-
    assert encoder.tokenizer.skiplist_ids.tolist() == [7, 8, 9, 10]
    documents = encoder.encode_documents(["a list. a name (a date)"])
    assert documents.token_ids is not None
    tokens = AutoTokenizer.from_pretrained(stanford).convert_ids_to_tokens(
        documents.token_ids.tolist()
    )
    expected = ["<s>", "[unused1]", "▁a", "▁list", ".", "▁a", "▁name", "a", "▁date", ")", "</s>"]
    assert tokens == expected


def test_the_first_pieces_are_in_the_fingerprint_where_they_are_not_the_marks(
    stanford: Path, tmp_path: Path
) -> None:
    first, own = Encoder.from_pretrained(stanford), Encoder.from_pretrained(stanford)
    own.tokenizer._masks_first_piece = False
    own.tokenizer = own.tokenizer.with_settings(own.settings)
    assert own.fingerprint("document") != first.fingerprint("document")
    assert own.fingerprint("query") == first.fingerprint("query")
    wordpiece = Encoder.from_pretrained(checkpoints.stanford(tmp_path, "bert"))
    assert not wordpiece.tokenizer.masks_other_ids


def test_words_of_the_callers_own_are_masked_by_their_own_id(stanford: Path) -> None:
    encoder = Encoder.from_pretrained(stanford, skiplist=["▁a", "("])
    vocabulary = AutoTokenizer.from_pretrained(stanford).get_vocab()
    assert encoder.tokenizer.skiplist_ids.tolist() == sorted([vocabulary["▁a"], vocabulary["▁("]])


def test_other_kinds_mask_the_mark_itself(tmp_path: Path) -> None:
    folder = checkpoints.pylate(
        tmp_path / "model", "bert", query_prefix="[unused0]", document_prefix="[unused1]"
    )
    write_sentencepiece(folder)
    ids = Encoder.from_pretrained(folder).tokenizer.skiplist_ids.tolist()
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert ids == sorted(vocabulary[mark] for mark in string.punctuation)
