"""Spans beside token embeddings, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.encoder.pooling import pool_tokens
from colmodern.errors import InputError, StorageError
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.spans import TokenSpans, joined_spans
from colmodern.ragged.store import EmbeddingStore

TEXT_SPANS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 70_000)), max_size=12).map(
    lambda pairs: sorted((start, start + length) for start, length in pairs)
)
MANY = st.lists(TEXT_SPANS, max_size=6)


def made(texts: list[list[tuple[int, int]]]) -> TokenSpans:
    flat = [span for spans in texts for span in spans]
    bounds = np.array(flat, np.int64).reshape(-1, 2)
    return TokenSpans.from_bounds(bounds, offsets_of([len(spans) for spans in texts]))


def listed(spans: TokenSpans) -> list[list[tuple[int, int]]]:
    return [[tuple(span) for span in spans[i].tolist()] for i in range(spans.n_docs)]


def embeddings(lengths: list[int], seed: int = 0) -> TokenEmbeddings:
    """Random embeddings; token j of a text covers characters 5j to 5j + 4."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(sum(lengths), 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    spans = made([[(5 * j, 5 * j + 4) for j in range(n)] for n in lengths])
    ids = np.arange(len(values), dtype=np.int32)
    return TokenEmbeddings(values, offsets_of(lengths), ids, spans=spans)


@given(texts=MANY)
def test_spans_come_back_as_they_were_given(texts: list[list[tuple[int, int]]]) -> None:
    assert listed(made(texts)) == texts


@given(texts=MANY, others=MANY, data=st.data())
def test_views_copies_and_joins_keep_each_texts_spans(
    texts: list[list[tuple[int, int]]], others: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    spans = made(texts)
    stop = data.draw(st.integers(0, len(texts)))
    start = data.draw(st.integers(0, stop))
    assert listed(spans.docs(start, stop)) == texts[start:stop]
    picked = (
        data.draw(st.lists(st.integers(0, max(0, len(texts) - 1)), max_size=5)) if texts else []
    )
    assert listed(spans.select(np.array(picked, np.int64))) == [texts[i] for i in picked]
    assert listed(joined_spans([spans, made(others)])) == texts + others


def test_short_steps_take_two_bytes_a_token() -> None:
    assert made([[(0, 3), (4, 9)]]).n_bytes == 4
    assert made([[(0, 3), (300, 309)]]).n_bytes == 8


@pytest.mark.parametrize("bounds", [[(3, 2)], [(4, 5), (1, 2)], [(-1, 2)]])
def test_spans_that_fall_are_refused(bounds: list[tuple[int, int]]) -> None:
    with pytest.raises(InputError, match="spans must be"):
        TokenSpans.from_bounds(np.array(bounds), np.array([0, len(bounds)]))


def test_slices_and_selections_of_embeddings_keep_spans() -> None:
    whole = embeddings([3, 0, 2, 4])
    assert listed(whole[2:].spans) == listed(whole.spans)[2:]
    assert listed(whole.select([3, 0]).spans) == [listed(whole.spans)[i] for i in (3, 0)]
    assert [len(chunk.spans[0]) for _, chunk in whole.chunks(1)] == [3, 0, 2, 4]


def test_spans_of_other_texts_are_refused() -> None:
    whole, other = embeddings([3, 2]), embeddings([2, 3])
    with pytest.raises(InputError, match="spans are 2 for the 3 rows of text 0"):
        TokenEmbeddings(whole.values, whole.offsets, spans=other.spans)
    with pytest.raises(InputError, match="spans is a list"):
        TokenEmbeddings(whole.values, whole.offsets, spans=[(0, 1)])


def test_a_pooled_row_owns_the_spans_of_its_members() -> None:
    whole = embeddings([7, 0, 1, 4])
    pooled = pool_tokens(whole, 2, protected=1)
    assert pooled.spans is not None
    assert listed(pooled.spans) == listed(whole.spans)
    for text in range(whole.n_docs):
        rows = pooled.spans.rows_of(text)
        assert set(rows.tolist()) == set(range(len(pooled[text])))
        for row in range(len(pooled[text])):
            mean = whole[text][rows == row].sum(axis=0)
            assert np.allclose(pooled[text][row], mean / np.linalg.norm(mean), atol=1e-5)


def test_pooling_twice_follows_the_tokens() -> None:
    whole = embeddings([12])
    twice = pool_tokens(pool_tokens(whole, 2, protected=0), 2, protected=0)
    rows = twice.spans.rows_of(0)
    assert len(rows) == 12
    assert set(rows.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("shard_tokens", [4, 1 << 18])
def test_a_store_gives_the_spans_back(tmp_path: Path, factor: int, shard_tokens: int) -> None:
    whole = embeddings([3, 0, 2, 4, 6])
    if factor > 1:
        whole = pool_tokens(whole, factor, protected=0)
    store = EmbeddingStore.write(tmp_path / "s", whole, shard_tokens=shard_tokens)
    assert store.has_spans
    store.verify()
    for found in (
        store.to_memory(),
        store.select([0, 1, 2, 3, 4]),
        TokenEmbeddings.load(tmp_path / "s"),
    ):
        assert listed(found.spans) == listed(whole.spans)
        for text in range(5):
            assert np.array_equal(found.spans.rows_of(text), whole.spans.rows_of(text))
    chunks = [listed(chunk.spans) for _, chunk in store.chunks(4)]
    assert [text for chunk in chunks for text in chunk] == listed(whole.spans)


def test_a_store_without_spans_is_of_the_version_before(tmp_path: Path) -> None:
    with_spans = embeddings([3, 2])
    without = TokenEmbeddings(with_spans.values, with_spans.offsets, with_spans.token_ids)
    plain = EmbeddingStore.write(tmp_path / "plain", without)
    assert plain.manifest["version"] == 2
    assert "spans" not in plain.manifest["shards"][0]
    assert not plain.has_spans
    assert plain.to_memory().spans is None
    assert EmbeddingStore.write(tmp_path / "spans", with_spans).manifest["version"] == 3


# only pooled spans have rows and offsets of their own
SPAN_FILES = [(1, "spans.npy"), (2, "spans.npy"), (2, "span_rows.npy"), (2, "span_offsets.npy")]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize(("factor", "name"), SPAN_FILES)
def test_damaged_spans_are_refused(tmp_path: Path, factor: int, damage: str, name: str) -> None:
    whole = (
        pool_tokens(embeddings([5, 6]), factor, protected=0) if factor > 1 else embeddings([5, 6])
    )
    EmbeddingStore.write(tmp_path / "s", whole)
    path = tmp_path / "s" / "shard-00000" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-2])
    with pytest.raises(StorageError, match=name.removesuffix(".npy")):
        EmbeddingStore(tmp_path / "s").to_memory()
    with pytest.raises(StorageError, match=name.removesuffix(".npy")):
        EmbeddingStore(tmp_path / "s").select([1])
