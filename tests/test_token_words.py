"""An explanation's words are those of its tokens, and passages come from the text where no index has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colmodern import Encoder, PlaidIndex
from colmodern.token_words import with_words
from colmodern.types import Explanation

TEXT = "The tool copies folders 🗂️ every night.\r\nTo restore a single FILE, naïvely, name it."
QUERY = "restore one file"


def explained(encoder: Encoder, folder: Path, *, spans: bool) -> Explanation:
    documents = encoder.encode_documents([TEXT, "Boil the pasta."], spans=spans)
    index = PlaidIndex.build(documents, folder / "i", ["backup", "pasta"])
    text = TEXT if spans else None
    return index.explain(encoder.encode_queries([QUERY])[0], "backup", text=text)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


def test_similarities_are_of_all_tokens(encoder: Encoder, tmp_path: Path) -> None:
    explanation = explained(encoder, tmp_path, spans=True)
    similarities = explanation.similarities
    assert similarities is not None
    assert similarities.shape == (len(explanation.alignment), len(explanation.token_characters))
    for query_token, doc_token, similarity in explanation.alignment:
        assert similarity == similarities[query_token].max() == similarities[query_token, doc_token]
    assert explanation.score == pytest.approx(similarities.max(axis=1).sum(), abs=1e-4)


@pytest.mark.parametrize("spans", [True, False])
def test_words_are_those_of_the_tokens(encoder: Encoder, tmp_path: Path, spans: bool) -> None:
    worded = with_words(explained(encoder, tmp_path, spans=spans), encoder, QUERY, text=TEXT)
    ids = encoder.encode_documents([TEXT]).token_ids
    assert list(worded.document_words) == encoder.tokenizer.words(ids)
    assert list(worded.query_words) == encoder.tokenizer.words(
        encoder.encode_queries([QUERY]).token_ids
    )
    pairs = {
        (worded.query_words[match.query_token], worded.document_words[match.doc_token])
        for match in worded.alignment
    }
    assert {("restore", "restore"), ("file", "file")} <= pairs


def test_an_index_without_characters_has_the_passages_of_one_with_them(
    encoder: Encoder, tmp_path: Path
) -> None:
    kept = explained(encoder, tmp_path / "with", spans=True)
    assert kept.spans
    bare = explained(encoder, tmp_path / "without", spans=False)
    assert bare.spans == bare.characters == ()
    worded = with_words(bare, encoder, QUERY, text=TEXT)
    assert worded.token_characters == kept.token_characters
    assert worded.characters == kept.characters
    assert [span[:2] for span in worded.spans] == [span[:2] for span in kept.spans]
    assert any("restore" in TEXT[start:end] for start, end, _ in worded.spans)


def test_pooled_tokens_have_the_words_that_they_were_made_of(
    encoder: Encoder, tmp_path: Path
) -> None:
    pooled = encoder.with_settings(pool_factor=3)
    worded = with_words(explained(pooled, tmp_path, spans=True), pooled, QUERY, text=TEXT)
    assert len(worded.document_words) == len(worded.token_characters)
    for word, characters in zip(worded.document_words, worded.token_characters, strict=True):
        assert word == (" … ".join(TEXT[start:end] for start, end in characters) or "·")
    assert any("restore" in word for word in worded.document_words)
    bare = explained(pooled, tmp_path / "without", spans=False)
    assert with_words(bare, pooled, QUERY, text=TEXT).document_words == ()


def test_every_window_of_a_split_text_has_its_words(encoder: Encoder, tmp_path: Path) -> None:
    split = encoder.with_settings(document_length=12, overflow="split")
    assert len(split.tokenize([TEXT], "document").ids) > 2
    kept = explained(split, tmp_path / "with", spans=True)
    bare = explained(split, tmp_path / "without", spans=False)
    worded = with_words(bare, split, QUERY, text=TEXT)
    assert list(worded.document_words) == split.tokenizer.words(
        split.encode_documents([TEXT]).token_ids
    )
    assert worded.token_characters == kept.token_characters
    assert [span[:2] for span in worded.spans] == [span[:2] for span in kept.spans]


def test_words_of_another_text_or_query_are_left_out(encoder: Encoder, tmp_path: Path) -> None:
    explanation = explained(encoder, tmp_path, spans=False)
    worded = with_words(explanation, encoder, f"{QUERY} of today", text=f"{TEXT} More of it.")
    assert (worded.query_words, worded.document_words, worded.spans) == ((), (), ())
    assert with_words(explanation, encoder, QUERY).document_words == ()
    ids = np.arange(3, dtype=np.int32)  # of another document
    assert with_words(explanation, encoder, QUERY, token_ids=ids).document_words == ()
    nothing = replace(explanation, similarities=None)
    assert with_words(nothing, encoder, QUERY, text=TEXT) is nothing
