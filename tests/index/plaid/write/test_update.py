from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import oracles
import pytest
from conftest import SCORE_TOLERANCE
from index.plaid.corpora import (
    copy_of,
    corpus,
    decoded,
    digests,
    expect_best,
    lengths_like_passages,
    names,
    truth,
    write_store,
)

from colmodern import PlaidIndex
from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.disk import tombstones
from colmodern.index.plaid.disk.manifest import read_manifest
from colmodern.index.plaid.write import merge, update
from colmodern.writer_lock import writer_lock

TOLERANCE = SCORE_TOLERANCE["float32"]
BASE = corpus(lengths_like_passages(60))
MORE = corpus(lengths_like_passages(50, seed=5), seed=5)
MORE_NAMES = names(50, "m")
QUERIES = corpus([1, 9, 32, 40], seed=2)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    return PlaidIndex.build(BASE, tmp_path_factory.mktemp("base") / "i", names(60))


@pytest.fixture
def plaid(built: PlaidIndex, tmp_path: Path) -> PlaidIndex:
    """An index of 60 documents that a test may change."""
    return copy_of(built, tmp_path / "i")


def answers(index: PlaidIndex, k: int = 200) -> list:
    return index.search_batch(QUERIES, k)


def test_added_documents_are_found_with_their_decoded_scores(plaid: PlaidIndex) -> None:
    before = [plaid.search(query, 60, n_candidates=60) for query in QUERIES]
    plaid.add(MORE, MORE_NAMES, merge=False)
    assert (plaid.n_docs, plaid.info()["segments"]) == (110, 2)
    for query, old in zip(QUERIES, before, strict=True):
        found = plaid.search(query, 110, n_candidates=110)
        expect_best(found, truth(query, decoded(plaid)), 110, TOLERANCE)
        assert [doc for doc in found if doc.doc_id.startswith("d")] == old


def test_adding_in_parts_equals_adding_at_once(
    built: PlaidIndex, tmp_path: Path, plaid: PlaidIndex
) -> None:
    other = copy_of(built, tmp_path / "other")
    plaid.add(MORE, MORE_NAMES)
    for start in range(0, 50, 13):
        other.add(MORE[start : start + 13], MORE_NAMES[start : start + 13], merge=False)
    assert other.info()["segments"] == 5
    assert answers(other) == answers(plaid)
    plaid.compact()
    other.compact()
    assert answers(other) == answers(plaid)
    assert other._state.snapshot.manifest.segments[0].files == (
        plaid._state.snapshot.manifest.segments[0].files
    )


def test_a_store_is_added_with_its_own_ids(plaid: PlaidIndex, tmp_path: Path) -> None:
    store = write_store(tmp_path / "more", MORE, MORE_NAMES, 20)
    plaid.add(tmp_path / "more")
    assert plaid.n_docs == 110
    with pytest.raises(InputError, match="document 'm0' is in the index already"):
        plaid.add(store)


def test_deleted_then_compacted_equals_an_index_that_never_had_them(
    built: PlaidIndex, plaid: PlaidIndex, tmp_path: Path
) -> None:
    gone = list(range(0, 50, 3))
    kept = [i for i in range(50) if i not in gone]
    never = copy_of(built, tmp_path / "never")
    never.add(MORE.select(kept), [MORE_NAMES[i] for i in kept])
    plaid.add(MORE, MORE_NAMES)
    assert plaid.delete([MORE_NAMES[i] for i in gone]) == len(gone)
    assert answers(plaid) == answers(never)
    plaid.compact()
    never.compact()
    assert answers(plaid) == answers(never)
    mine, other = (
        digests(Path(index.info()["path"]) / index._state.snapshot.manifest.segments[0].name)
        for index in (plaid, never)
    )
    assert mine == other
    assert plaid.info()["deleted"] == 0
    assert not list(tmp_path.glob("i/deleted-*"))
    assert len(list(tmp_path.glob("i/segment-*"))) == 1
    PlaidIndex.check(tmp_path / "i")


def test_an_unknown_id_deletes_none(plaid: PlaidIndex) -> None:
    before = answers(plaid)
    with pytest.raises(InputError, match="document 'nobody' is not in the index"):
        plaid.delete(["d1", "nobody", "d2"])
    assert answers(plaid) == before
    assert plaid.delete(["d1", "d1"]) == 1
    with pytest.raises(InputError, match="document 'd1' is not in the index"):
        plaid.delete(["d1"])
    with pytest.raises(InputError, match="is one string"):
        plaid.delete("d2")
    assert plaid.delete([]) == 0
    assert plaid.n_docs == 59


def test_a_deleted_id_may_come_back_as_another_document(plaid: PlaidIndex) -> None:
    plaid.delete(["d1"])
    plaid.add(MORE[3:4], ["d1"])
    PlaidIndex.check(plaid.info()["path"])
    assert plaid.n_docs == 60
    expect_best(
        plaid.search(QUERIES[1], 60, n_candidates=60),
        truth(QUERIES[1], decoded(plaid)),
        60,
        TOLERANCE,
    )


def test_update_replaces_old_documents_and_adds_new_ones(plaid: PlaidIndex) -> None:
    old = decoded(plaid)
    ids = ["d3", "new", "d59"]
    plaid.update(MORE[:3], ids)
    assert plaid.n_docs == 61
    now = decoded(plaid)
    assert set(now) == {*old, "new"}
    assert [len(now[doc_id]) for doc_id in ids] == MORE[:3].lengths.tolist()
    for query in QUERIES:
        expect_best(plaid.search(query, 61, n_candidates=61), truth(query, now), 61, TOLERANCE)
    with pytest.raises(InputError, match=r"doc_ids\[0\] and doc_ids\[1\] are both"):
        plaid.update(MORE[:2], ["d3", "d3"])
    assert decoded(plaid).keys() == now.keys()


def test_an_update_that_fails_changes_nothing(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, folder = answers(plaid), Path(plaid.info()["path"])

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(update, "commit", full)
    with pytest.raises(OSError, match="disk full"):
        plaid.update(MORE[:2], ["d3", "new"])
    monkeypatch.undo()
    assert answers(plaid) == answers(PlaidIndex.load(folder)) == before
    plaid.delete(["d5"])  # removes what the failed update left
    assert len(list(folder.glob("segment-*"))) == 1
    assert len(list(folder.glob("deleted-*"))) == 1


def test_many_updates_keep_few_files_of_deletions(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "MOST_FILES", 4)
    folder = Path(plaid.info()["path"])
    for i in range(11):
        plaid.update(MORE[1:2], [f"d{i % 5}"], merge=False)
        assert len(list(folder.glob("deleted-*"))) <= 4
    assert plaid.n_docs == 60
    plaid.compact()
    assert decoded(plaid).keys() == set(names(60))
    PlaidIndex.check(folder)


def test_wrong_additions_change_nothing(plaid: PlaidIndex) -> None:
    before = digests(Path(plaid.info()["path"]))
    with pytest.raises(InputError, match="dim=8, the index has dim=16"):
        plaid.add(corpus([2], 8), ["x"])
    with pytest.raises(InputError, match="doc_ids is missing"):
        plaid.add(MORE)
    with pytest.raises(InputError, match="2 entries for 50 documents"):
        plaid.add(MORE, ["a", "b"])
    with pytest.raises(InputError, match="document 'd7' is in the index already"):
        plaid.add(MORE[:2], ["x", "d7"])
    with pytest.raises(InputError, match="are both 'x'"):
        plaid.add(MORE[:2], ["x", "x"])
    with pytest.raises(InputError, match="is empty"):
        plaid.add(MORE[:1], [""])
    plaid.add(MORE[:0], [])
    assert digests(Path(plaid.info()["path"])) == before


def test_documents_without_tokens_or_with_unseen_token_ids_are_added(plaid: PlaidIndex) -> None:
    unseen = corpus([6, 0, 3], seed=8)
    unseen.token_ids[:] = [99_999, -1, 41, 2**31 - 1, 0, 1, 39, 12_345, 7]
    plaid.add(unseen, ["a", "b", "c"])
    without = corpus([6, 0, 3], seed=9, with_ids=False)
    plaid.add(without, ["e", "f", "g"])
    plaid.add(corpus([0], seed=9), ["empty"])
    for query in QUERIES:
        expect_best(
            plaid.search(query, 67, n_candidates=67), truth(query, decoded(plaid)), 67, TOLERANCE
        )
    assert dict(plaid.search(QUERIES[2], 67))["empty"] == 0.0


def test_readers_keep_their_view_whatever_a_writer_does(plaid: PlaidIndex) -> None:
    folder = plaid.info()["path"]
    reader, before = PlaidIndex.load(folder), answers(plaid)
    plaid.add(MORE, MORE_NAMES)
    plaid.delete(["d1", "d2"])
    assert answers(reader) == before
    plaid.compact()
    assert answers(reader) == before
    assert reader.n_docs == 60
    assert reader.info()["documents"] == 60
    assert answers(PlaidIndex.load(folder)) == answers(plaid) != before


def test_an_object_loaded_earlier_changes_what_the_index_is_now(plaid: PlaidIndex) -> None:
    other = PlaidIndex.load(plaid.info()["path"])
    plaid.add(MORE[:10], MORE_NAMES[:10])
    plaid.delete(["d0"])
    with pytest.raises(InputError, match="document 'd0' is not in the index"):
        other.delete(["d0"])
    with pytest.raises(InputError, match="'m0' is in the index already"):
        other.add(MORE[:1], ["m0"])
    other.add(MORE[10:], MORE_NAMES[10:])
    other.delete(["m3"])
    assert other.n_docs == 60 - 1 + 50 - 1
    assert answers(other) == answers(PlaidIndex.load(plaid.info()["path"]))


def test_an_index_built_anew_is_not_changed_by_an_object_of_the_old_one(plaid: PlaidIndex) -> None:
    folder, before = plaid.info()["path"], answers(plaid)
    PlaidIndex.build(MORE, folder, MORE_NAMES, overwrite=True)
    assert answers(plaid) == before
    for change in (
        lambda: plaid.add(BASE[:1], ["x"]),
        lambda: plaid.delete(["d1"]),
        lambda: plaid.compact(),
    ):
        with pytest.raises(StorageError, match="was built again since it was loaded"):
            change()
    assert PlaidIndex.load(folder).n_docs == 50


def test_a_second_writer_is_refused(plaid: PlaidIndex) -> None:
    with writer_lock(Path(plaid.info()["path"])):
        for change in (
            lambda: plaid.add(MORE, MORE_NAMES),
            lambda: plaid.delete(["d1"]),
            lambda: plaid.compact(),
            lambda: PlaidIndex.build(BASE, plaid.info()["path"], names(60), overwrite=True),
        ):
            with pytest.raises(StorageError, match="is being written by another process"):
                change()
    assert plaid.n_docs == 60


def test_an_index_of_nothing_can_be_compacted_and_filled_again(plaid: PlaidIndex) -> None:
    plaid.delete(names(60))
    assert plaid.n_docs == 0
    assert plaid.search(QUERIES[1]) == []
    plaid.compact()
    assert plaid.info()["segments"] == 0
    assert plaid.search_batch(QUERIES) == [[]] * 4
    assert plaid.search(QUERIES[1], filter=["d1"]) == []
    PlaidIndex.check(plaid.info()["path"])
    plaid.compact()
    plaid.add(MORE, MORE_NAMES)
    assert {doc.doc_id for doc in plaid.search(QUERIES[1], 50)} == set(MORE_NAMES)


def test_compacting_long_documents_goes_in_pieces(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    plaid.add(corpus([700, 3, 0, 0, 900], seed=4), names(5, "long"))
    plaid.delete(["d4"])
    before = answers(plaid)
    sizes = []
    tokens_of = merge._tokens_of

    def watched(segment: object, rows: np.ndarray, lengths: np.ndarray) -> object:
        sizes.append((len(rows), int(lengths.sum())))
        return tokens_of(segment, rows, lengths)

    monkeypatch.setattr(merge, "CHUNK_TOKENS", 100)
    monkeypatch.setattr(merge, "_tokens_of", watched)
    plaid.compact()
    assert all(n_docs == 1 or n_tokens <= 100 for n_docs, n_tokens in sizes)
    assert answers(plaid) == before


def test_rescoring_follows_additions_and_deletions(plaid: PlaidIndex, tmp_path: Path) -> None:
    both = write_store(tmp_path / "a", MORE, MORE_NAMES, 50)
    with pytest.raises(InputError, match="rescore has no document"):
        plaid.search(QUERIES[1], rescore=both)
    plaid.delete(names(60))
    plaid.add(both)
    documents = dict(zip(MORE_NAMES, MORE, strict=True))
    for query in QUERIES:
        found = plaid.search(query, 5, rescore=both)
        best = oracles.ranking(truth(np.float32(query), documents), 5)
        assert len(set(best) & {doc.doc_id for doc in found}) >= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_process_searches_with_threads_of_its_own(plaid: PlaidIndex) -> None:
    expected = plaid.search_batch(QUERIES, 10, n_threads=2)  # the threads exist now
    child = os.fork()
    if child == 0:
        os._exit(0 if plaid.search_batch(QUERIES, 10, n_threads=2) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_manifest_counts_segments_that_are_gone(plaid: PlaidIndex) -> None:
    folder = Path(plaid.info()["path"])
    plaid.add(MORE[:5], MORE_NAMES[:5], merge=False)
    plaid.compact()
    plaid.add(MORE[5:9], MORE_NAMES[5:9], merge=False)
    used = [segment.name for segment in read_manifest(folder).segments]
    assert used == ["segment-00002", "segment-00003"]


def test_an_index_sees_changes_of_others_when_it_is_refreshed(plaid: PlaidIndex) -> None:
    other = PlaidIndex.load(plaid.path)
    assert (other.version, other.refresh()) == (plaid.version, False)
    before, version = answers(other), other.version
    segment = other._state.snapshot.segments[0]
    plaid.add(MORE, MORE_NAMES, merge=False)
    assert (answers(other), other.version) == (before, version)
    assert (other.refresh(), other.version) == (True, plaid.version)
    assert other._state.snapshot.segments[0] is segment  # mapped and verified already
    assert answers(other) == answers(plaid) != before
    built_again = PlaidIndex.build(MORE, plaid.path, MORE_NAMES, nbits=2, overwrite=True)
    assert other.refresh()
    assert answers(other) == answers(built_again)
    (plaid.path / "manifest.json").unlink()
    with pytest.raises(StorageError, match="no manifest"):
        other.refresh()
    assert answers(other) == answers(built_again)
