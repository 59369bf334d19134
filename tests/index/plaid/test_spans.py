"""Characters of tokens in an index: built, changed, merged, damaged, and shown by searches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows

from colmodern import ExactIndex, Hit, PlaidIndex, SpanSettings, TokenEmbeddings, TokenSpans
from colmodern.encoder.pooling import pool_tokens
from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.disk.verify import verified_spans
from colmodern.index.plaid.write import build as build_module
from colmodern.index.spans import matched_spans
from colmodern.ragged.store import EmbeddingStore

DIM = 24
LENGTHS = [4, 1, 9, 0, 30, 2, 7, 12]
IDS = [f"d{i}" for i in range(len(LENGTHS))]
QUERIES = unit_rows([3, 8, 1], dim=DIM, seed=6)


def documents(lengths: list[int], seed: int = 5, *, step: int = 6) -> TokenEmbeddings:
    """Random tokens; token j of a document covers characters ``step`` j to ``step`` j + 5."""
    plain = unit_rows(lengths, dim=DIM, seed=seed)
    bounds = [[step * j, step * j + 5] for n in lengths for j in range(n)]
    spans = TokenSpans.from_bounds(np.array(bounds).reshape(-1, 2), plain.offsets)
    return TokenEmbeddings(plain.values, plain.offsets, spans=spans)


DOCUMENTS = documents(LENGTHS)
POOLED = pool_tokens(DOCUMENTS, 2, protected=1)
TEXTS = {doc_id: " ".join(["words"] * n) for doc_id, n in zip(IDS, LENGTHS, strict=True)}
SOURCES = {"tokens": DOCUMENTS, "pooled": POOLED}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> TokenEmbeddings:
    return SOURCES[request.param]


def stored(index: PlaidIndex) -> dict[str, tuple[list[list[int]], list[int]]]:
    """The spans, and the rows that they belong to, of every document that can be found."""
    state, found = index._state, {}
    for segment, blocked in zip(state.view.segments, state.view.blocked, strict=True):
        spans = verified_spans(state.snapshot.folder, segment)
        for doc, doc_id in enumerate(segment.ids):
            if blocked is None or not blocked[doc]:
                found[doc_id] = (spans[doc].tolist(), spans.rows_of(doc).tolist())
    return found


def expected(embeddings: TokenEmbeddings, ids: list[str]) -> dict[str, object]:
    spans = embeddings.spans
    return {doc_id: (spans[i].tolist(), spans.rows_of(i).tolist()) for i, doc_id in enumerate(ids)}


@pytest.mark.parametrize("kind", ["memory", "store", "store of shards"])
def test_an_index_keeps_the_spans_of_its_source(
    source: TokenEmbeddings, kind: str, tmp_path: Path
) -> None:
    given: TokenEmbeddings | EmbeddingStore = source
    if kind != "memory":
        shard_tokens = 8 if kind == "store of shards" else 1 << 18
        given = EmbeddingStore.write(tmp_path / "s", source, IDS, shard_tokens=shard_tokens)
    index = PlaidIndex.build(given, tmp_path / "i", IDS)
    assert index.has_spans
    assert stored(index) == expected(source, IDS)
    PlaidIndex.check(tmp_path / "i")
    assert index.info()["bytes"]["spans"] > 0
    assert index.info()["settings"]["spans"] is True
    assert stored(PlaidIndex.load(tmp_path / "i", verify="full")) == expected(source, IDS)


def test_spans_follow_adds_updates_deletions_and_merges(
    source: TokenEmbeddings, tmp_path: Path
) -> None:
    index = PlaidIndex.build(source, tmp_path / "i", IDS)
    truth = expected(source, IDS)
    others = documents([3, 0, 5], seed=8, step=300)  # steps of two bytes, and never pooled
    index.add(others, ["e0", "e1", "e2"], merge=False)
    truth |= expected(others, ["e0", "e1", "e2"])
    assert stored(index) == truth
    index.update(documents([6, 2], seed=9), ["d4", "e2"], merge=False)
    truth |= expected(documents([6, 2], seed=9), ["d4", "e2"])
    assert stored(index) == truth
    index.delete(["d0", "e0"])
    del truth["d0"], truth["e0"]
    assert stored(index) == truth
    index.compact()
    assert stored(index) == truth
    PlaidIndex.check(tmp_path / "i")
    index.add(documents([4], seed=3), ["f0"])
    assert stored(index) == truth | expected(documents([4], seed=3), ["f0"])


def test_a_resumed_build_gives_the_same_bytes(
    source: TokenEmbeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PlaidIndex.build(source, tmp_path / "whole", IDS)

    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "write_inverted_lists", stop)
        with pytest.raises(KeyboardInterrupt):
            PlaidIndex.build(source, tmp_path / "i", IDS)
    PlaidIndex.build(source, tmp_path / "i", IDS)
    names = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")]
    for name in names:
        if (tmp_path / "whole" / name).is_file():
            assert (tmp_path / "i" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_index_without_spans_has_the_bytes_that_it_had(tmp_path: Path) -> None:
    plain = TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets)
    PlaidIndex.build(plain, tmp_path / "plain", IDS)
    without = PlaidIndex.build(DOCUMENTS, tmp_path / "without", IDS, spans=False)
    assert not without.has_spans
    assert "spans" not in without.info()["bytes"]
    files = [path for path in (tmp_path / "plain").rglob("*") if path.is_file()]
    for path in files:
        twin = tmp_path / "without" / path.relative_to(tmp_path / "plain")
        assert twin.read_bytes() == path.read_bytes()
    assert not list((tmp_path / "without").rglob("span*"))
    without.add(documents([2]), ["e0"])  # spans of new documents are left out
    PlaidIndex.check(tmp_path / "without")


def test_documents_without_spans_are_refused(tmp_path: Path) -> None:
    plain = TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets)
    with pytest.raises(InputError, match="encode the documents with spans=True"):
        PlaidIndex.build(plain, tmp_path / "i", IDS, spans=True)
    index = PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    with pytest.raises(InputError, match="these embeddings have none"):
        index.add(plain, [f"e{i}" for i in range(8)])
    assert index.n_docs == 8


BREAK: dict[str, Callable[[bytes], bytes | None]] = {
    "flip": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "cut": lambda content: content[:-2],
    "remove": lambda content: None,
}


@pytest.mark.parametrize("damage", BREAK)
@pytest.mark.parametrize("name", ["spans.npy", "span_offsets.npy", "span_rows.npy"])
def test_damaged_spans_are_refused(name: str, damage: str, tmp_path: Path) -> None:
    PlaidIndex.build(POOLED, tmp_path / "i", IDS)
    path = tmp_path / "i" / "segment-00000" / name
    content = BREAK[damage](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="span"):
        PlaidIndex.load(tmp_path / "i").search(QUERIES[0], spans=True)
    with pytest.raises(StorageError, match="span"):
        PlaidIndex.check(tmp_path / "i")
    with pytest.raises(StorageError, match="span"):
        PlaidIndex.load(tmp_path / "i").add(documents([50], seed=2), ["e0"])


def test_spans_that_a_manifest_does_not_name_are_refused(tmp_path: Path) -> None:
    PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    PlaidIndex.build(DOCUMENTS, tmp_path / "plain", IDS, spans=False)
    shutil.copy(tmp_path / "plain" / "manifest.json", tmp_path / "i" / "manifest.json")
    assert not PlaidIndex.load(tmp_path / "i").has_spans


@pytest.mark.parametrize("kind", ["plaid", "exact", "stored"])
@pytest.mark.parametrize("with_texts", [False, True])
def test_hits_have_the_passages_of_their_document(
    source: TokenEmbeddings, kind: str, with_texts: bool, tmp_path: Path
) -> None:
    if kind == "plaid":
        index: PlaidIndex | ExactIndex = PlaidIndex.build(source, tmp_path / "i", IDS)
        values = dict(zip(IDS, decoded(index), strict=True))
    else:
        values = dict(zip(IDS, source, strict=True))
        source.save(tmp_path / "s", IDS)
        index = ExactIndex.load(tmp_path / "s") if kind == "stored" else ExactIndex(source, IDS)
    settings = SpanSettings(texts=TEXTS if with_texts else None, min_share=0)
    for query, hits in zip(QUERIES, index.search_batch(QUERIES, spans=settings), strict=True):
        alone = index.search(query, spans=settings)
        assert alone == index.search(query)
        assert [hit.doc_id for hit in hits] == [hit.doc_id for hit in alone]
        assert [hit.spans for hit in hits] == [hit.spans for hit in alone]
        for hit in hits:
            assert isinstance(hit, Hit)
            i = IDS.index(hit.doc_id)
            text = TEXTS[hit.doc_id] if with_texts else None
            spans, rows = source.spans[i], source.spans.rows_of(i)
            own = matched_spans(
                query, values[hit.doc_id], spans, row_of_token=rows, text=text, settings=settings
            )
            assert [span[:2] for span in hit.spans] == [span[:2] for span in own]
            assert [span.score for span in hit.spans] == pytest.approx([s.score for s in own])


def decoded(index: PlaidIndex) -> list[np.ndarray]:
    from colmodern.index.plaid.search.located import decoded as decoded_document

    return [decoded_document(i, index._state.view) for i in range(index.n_docs)]


def test_rescored_hits_have_the_passages_of_the_stored_embeddings(tmp_path: Path) -> None:
    index = PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, nbits=1)
    exact = ExactIndex(DOCUMENTS, IDS)
    for query in QUERIES:
        hits = index.search(query, 3, spans=True, rescore=DOCUMENTS)
        for hit, truth in zip(hits, exact.search(query, 3, spans=True), strict=True):
            assert hit.doc_id == truth.doc_id
            assert [span[:2] for span in hit.spans] == [span[:2] for span in truth.spans]


def test_an_index_without_spans_says_how_to_get_them(tmp_path: Path) -> None:
    plain = TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets)
    index = PlaidIndex.build(plain, tmp_path / "i", IDS)
    for search in (index.search, ExactIndex(plain, IDS).search):
        with pytest.raises(InputError, match=r"spans=True.*encode the documents"):
            search(QUERIES[0], spans=True)
    with pytest.raises(InputError, match="spans='yes'; pass True, False or SpanSettings"):
        index.search(QUERIES[0], spans="yes")


def test_texts_of_other_documents_are_refused(tmp_path: Path) -> None:
    index = ExactIndex(DOCUMENTS, IDS)
    with pytest.raises(InputError, match="texts has no document"):
        index.search(QUERIES[0], spans=SpanSettings(texts={}))
    with pytest.raises(InputError, match=r"document 'd\d': a token ends at character"):
        index.search(QUERIES[0], spans=SpanSettings(texts=lambda doc_id: "short"))


def test_explain_tells_characters_and_passages(source: TokenEmbeddings, tmp_path: Path) -> None:
    index = PlaidIndex.build(source, tmp_path / "i", IDS)
    told = index.explain(QUERIES[1], "d4", text=TEXTS["d4"])
    spans, rows = source.spans[4], source.spans.rows_of(4)
    assert len(told.characters) == len(told.alignment)
    for match, characters in zip(told.alignment, told.characters, strict=True):
        assert [list(span) for span in characters] == spans[rows == match.doc_token].tolist()
    [hit] = index.search(QUERIES[1], 1, filter=["d4"], spans=SpanSettings(texts=TEXTS))
    assert told.spans == hit.spans
    assert sum(span.score for span in told.spans) == pytest.approx(told.score, rel=0.3)
