"""Indexes with one codec, and segments that go from one to another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from index.plaid.corpora import corpus, digests, lengths_like_passages, names

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError, StorageError

DOCUMENTS = corpus(lengths_like_passages(160))
IDS = names(160)
QUERIES = corpus([3, 32, 8, 5, 1, 12], seed=4)
HALVES = (slice(0, 90), slice(90, 160))
EVERYTHING = {"nprobe": 1 << 20, "n_candidates": 1 << 20}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    return PlaidIndex.build(DOCUMENTS, tmp_path_factory.mktemp("whole") / "i", IDS, nbits=2)


@pytest.fixture
def halves(whole: PlaidIndex, tmp_path: Path) -> list[PlaidIndex]:
    return [
        PlaidIndex.build(DOCUMENTS[half], tmp_path / f"h{i}", IDS[half], codec_from=whole)
        for i, half in enumerate(HALVES)
    ]


def codec_of(index: PlaidIndex) -> dict[str, str]:
    return digests(index.path / "codec")


def test_scores_of_two_indexes_with_one_codec_are_those_of_one(
    whole: PlaidIndex, halves: list[PlaidIndex]
) -> None:
    assert codec_of(halves[0]) == codec_of(halves[1]) == codec_of(whole)
    assert halves[0].info()["settings"]["nbits"] == 2
    for query in QUERIES:
        both = [doc for half in halves for doc in half.search(query, 160, **EVERYTHING)]
        merged = sorted(both, key=lambda doc: (-doc.score, doc.doc_id))
        assert merged == whole.search(query, 160, **EVERYTHING)


def test_a_codec_needs_the_manifest_and_the_codec_alone(whole: PlaidIndex, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(whole.path / "manifest.json", tmp_path / "copy")
    shutil.copytree(whole.path / "codec", tmp_path / "copy" / "codec")
    built = PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", codec_from=str(tmp_path / "copy"))
    assert codec_of(built) == codec_of(whole)


def test_an_index_without_documents_takes_a_codec(whole: PlaidIndex, tmp_path: Path) -> None:
    nothing = TokenEmbeddings.from_list([], dim=DOCUMENTS.dim)
    index = PlaidIndex.build(nothing, tmp_path / "i", [], codec_from=whole)
    assert index.search(QUERIES[0]) == []
    PlaidIndex.check(index.path)
    index.add(DOCUMENTS[:5], IDS[:5])
    assert PlaidIndex.load(index.path).n_docs == 5


def test_a_damaged_codec_is_not_taken_over(whole: PlaidIndex, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "copy")
    path = tmp_path / "copy" / "codec" / "mean.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"mean.npy differs from its checksum"):
        PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", codec_from=tmp_path / "copy")
    path.unlink()
    with pytest.raises(StorageError, match=r"mean.npy cannot be read"):
        PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", codec_from=tmp_path / "copy")
    assert not (tmp_path / "i").exists()


def test_settings_that_the_codec_decides_are_refused(whole: PlaidIndex, tmp_path: Path) -> None:
    for setting in ({"nbits": 1}, {"n_centroids": 3}, {"codec": "residual"}, {"seed": 5}):
        [(name, value)] = setting.items()
        with pytest.raises(InputError, match=f"^{name}={value!r}, but codec_from has {name}="):
            PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, codec_from=whole, **setting)
    with pytest.raises(InputError, match="dim=24, the index of codec_from has dim=16"):
        PlaidIndex.build(corpus([5], dim=24), tmp_path / "i", codec_from=whole)
    with pytest.raises(StorageError, match="there is no index"):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", codec_from=tmp_path / "none")
    with pytest.raises(InputError, match="codec_from is a int; pass the path of an index"):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", codec_from=7)


def test_embeddings_of_another_encoder_do_not_take_a_codec(tmp_path: Path) -> None:
    its = TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets, fingerprint="x")
    first = PlaidIndex.build(its, tmp_path / "i", IDS)
    other = TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets, fingerprint="y")
    with pytest.raises(InputError, match=r"fingerprint=y is not the index's x"):
        PlaidIndex.build(other, tmp_path / "j", IDS, codec_from=first)


def test_an_attached_index_is_searched_as_if_it_had_been_added(
    whole: PlaidIndex, halves: list[PlaidIndex]
) -> None:
    first, second = halves
    segment = second.path / "segment-00000"
    assert first.attach(second) == 70
    assert first.doc_ids == IDS
    assert digests(first.path / "segment-00001") == digests(segment)
    PlaidIndex.check(first.path)
    for index in (first, PlaidIndex.load(first.path)):
        for query in QUERIES:
            assert index.search(query, 20, **EVERYTHING) == whole.search(query, 20, **EVERYTHING)


def test_a_segment_is_attached_without_its_deleted_documents(
    whole: PlaidIndex, halves: list[PlaidIndex]
) -> None:
    first, second = halves
    second.delete(IDS[90:160:7])
    more = corpus([4, 6], seed=9)
    second.add(more, ["m0", "m1"], merge=False)
    assert first.attach(second.path / "segment-00000") == 60
    left = [doc_id for i, doc_id in enumerate(IDS[90:]) if i % 7]
    assert first.doc_ids == IDS[:90] + left
    PlaidIndex.check(first.path)
    assert first.attach(str(second.path / "segment-00001")) == 2
    assert "m1" in PlaidIndex.load(first.path)
    with pytest.raises(StorageError, match=r"segment-7 is no segment that .* names; give one of"):
        first.attach(second.path / "segment-7")


def test_what_does_not_fit_is_refused_and_nothing_changes(
    whole: PlaidIndex, halves: list[PlaidIndex], tmp_path: Path
) -> None:
    first, second = halves
    before = digests(first.path)
    own = PlaidIndex.build(DOCUMENTS[90:], tmp_path / "own", IDS[90:], nbits=2)
    again = PlaidIndex.build(DOCUMENTS[80:], tmp_path / "again", IDS[80:], codec_from=whole)
    damaged = tmp_path / "damaged"
    shutil.copytree(second.path, damaged)
    path = damaged / "segment-00000" / "residuals.npy"
    bits = bytearray(path.read_bytes())
    bits[-3] ^= 4
    path.write_bytes(bits)
    refusals = [
        (own, InputError, "was compressed with another codec than"),
        (again, InputError, "document 'd80' is in the index already"),
        (first.path, InputError, "is the index itself"),
        (damaged, StorageError, r"residuals\.npy differs from its checksum"),
        (tmp_path / "none", StorageError, "there is no index"),
    ]
    for source, error, message in refusals:
        with pytest.raises(error, match=message):
            first.attach(source)
        assert digests(first.path) == before
    assert first.n_docs == 90


def test_an_index_with_spans_and_one_without_are_not_joined(tmp_path: Path) -> None:
    from colmodern import TokenSpans

    lengths = DOCUMENTS.lengths
    bounds = np.concatenate([np.arange(n)[:, None] * 3 + [0, 2] for n in lengths]).astype(np.int64)
    spans = TokenSpans.from_bounds(bounds, DOCUMENTS.offsets)
    values = (DOCUMENTS.values, DOCUMENTS.offsets, DOCUMENTS.token_ids)
    with_spans = TokenEmbeddings(*values, spans=spans)
    first = PlaidIndex.build(with_spans[:90], tmp_path / "i", IDS[:90])
    second = PlaidIndex.build(with_spans[90:], tmp_path / "j", IDS[90:], codec_from=first)
    bare = PlaidIndex.build(DOCUMENTS[90:], tmp_path / "k", IDS[90:], codec_from=first)
    with pytest.raises(InputError, match=r"keeps the characters of its tokens, and .* does not"):
        first.attach(bare)
    second.delete(IDS[100:110])
    first.attach(second)
    PlaidIndex.check(first.path)
    [hit] = first.search(DOCUMENTS[120], 1, spans=True)
    assert hit.doc_id == "d120"
    assert hit.spans


@pytest.mark.parametrize("n_deleted", [0, 5])
def test_fields_come_along(whole: PlaidIndex, tmp_path: Path, n_deleted: int) -> None:
    fields = [{"year": 1990 + i % 40, "lang": "en" if i % 2 else "de"} for i in range(160)]
    first, second = (
        PlaidIndex.build(
            DOCUMENTS[half], tmp_path / f"f{i}", IDS[half], codec_from=whole, fields=fields[half]
        )
        for i, half in enumerate(HALVES)
    )
    if n_deleted:
        second.delete(IDS[90 : 90 + n_deleted])
    first.attach(second)
    PlaidIndex.check(first.path)
    condition = {"year": {"gte": 2020}, "lang": "en"}
    results = PlaidIndex.load(first.path).search(QUERIES[0], 160, filter=condition)
    expected = {
        f"d{i}"
        for i in range(160)
        if 1990 + i % 40 >= 2020 and i % 2 and not 90 <= i < 90 + n_deleted
    }
    assert {doc.doc_id for doc in results} == expected
