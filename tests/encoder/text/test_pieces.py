"""Tokenized texts, cut and joined, are the same texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.pieces import cut_at, join
from colmodern.encoder.text.tokenized import TokenizedTexts

TEXTS = ["heat", "", "the lift of a wing in the flow " * 3, "speed and heat", "read the file " * 9]


@pytest.fixture(scope="module")
def encoder(pylate_bert: Path) -> Encoder:
    settings = {"document_length": 12, "overflow": "split", "overlap": 2}
    return Encoder.from_pretrained(pylate_bert, device="cpu", **settings)


def expect_equal(texts: TokenizedTexts, expected: TokenizedTexts) -> None:
    for name in ("attended", "cut", "offsets"):
        np.testing.assert_array_equal(getattr(texts, name), getattr(expected, name))
    for name in ("ids", "scored", "spans"):
        own, others = getattr(texts, name), getattr(expected, name)
        if others is None:
            assert own is None
            continue
        assert len(own) == len(others)
        for values, other in zip(own, others, strict=True):
            np.testing.assert_array_equal(values, other)


@pytest.mark.parametrize("spans", [True, False])
@pytest.mark.parametrize("max_tokens", [1, 12, 13, 40, 1000])
def test_pieces_joined_are_the_texts_again(encoder: Encoder, max_tokens: int, spans: bool) -> None:
    texts = encoder.tokenize(TEXTS, "document", spans=spans)
    pieces = cut_at(texts, max_tokens)
    for piece in pieces:
        assert piece.lengths.sum() <= max_tokens or len(piece.cut) == 1
    assert len(pieces) == (1 if max_tokens == 1000 else len(pieces))
    expect_equal(join(pieces), texts)


def test_joined_texts_are_encoded_as_each_alone(encoder: Encoder) -> None:
    each = [encoder.tokenize([text], "document", spans=True) for text in TEXTS]
    together = encoder.encode_tokens(join(each))
    alone = encoder.encode_documents(TEXTS, spans=True)
    np.testing.assert_allclose(together.values, alone.values, atol=1e-5)
    np.testing.assert_array_equal(together.offsets, alone.offsets)
    assert together.spans is not None
    assert alone.spans is not None
    np.testing.assert_array_equal(together.spans[4], alone.spans[4])


def test_texts_with_and_without_spans_join_without(encoder: Encoder) -> None:
    pieces = [encoder.tokenize(["heat"], "document", spans=spans) for spans in (True, False)]
    assert join(pieces).spans is None


def test_no_texts_are_one_piece(encoder: Encoder) -> None:
    [piece] = cut_at(encoder.tokenize([], "document"), 10)
    assert len(piece.cut) == 0
