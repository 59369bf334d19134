from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import SCORE_TOLERANCE, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import (
    copy_of,
    corpus,
    decoded,
    expect_best,
    lengths_like_passages,
    names,
    overlap,
    truth,
    write_store,
)

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.disk.manifest import commit, read_manifest
from colmodern.index.plaid.disk.segment import record_segment
from colmodern.ragged.arrays import write_array

TOLERANCE = SCORE_TOLERANCE["float32"]
DOCUMENTS = corpus(lengths_like_passages(300))
QUERIES = corpus([1, 7, 32, 33, 12, 70], seed=1)


@pytest.fixture(scope="module")
def plaid(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    return PlaidIndex.build(DOCUMENTS, tmp_path_factory.mktemp("plaid") / "i", names(300))


def query_of(n_tokens: int, dim: int, seed: int = 3) -> np.ndarray:
    return unit_rows([n_tokens], dim, seed)[0]


def everything(index: PlaidIndex, k: int = 10) -> dict[str, int]:
    """Settings with which nothing is left out."""
    return {
        "nprobe": index.info()["centroids"],
        "n_candidates": max(k, index.n_docs),
    }


def test_known_ids_are_those_of_documents_that_a_search_can_return(tmp_path: Path) -> None:
    index = PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", names(9))
    index.delete(["d3"])
    assert index.known_ids(iter(["d8", "none", "d3", "d0"])) == ["d8", "d0"]
    with pytest.raises(InputError, match="doc_ids='d8'"):
        index.known_ids("d8")


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any),
    dim=st.sampled_from([8, 24, 40]),
    nbits=st.sampled_from([1, 2, 4, 8]),
    kind=st.sampled_from(["pq", "residual"]),
    with_ids=st.booleans(),
    n_query_tokens=st.sampled_from([1, 5, 32, 33]),
    k=st.integers(1, 15),
)
@settings(max_examples=25)
def test_everything_turned_up_equals_maxsim_over_the_decoded_tokens(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    dim: int,
    nbits: int,
    kind: str,
    with_ids: bool,
    n_query_tokens: int,
    k: int,
) -> None:
    documents = corpus(lengths, dim, with_ids=with_ids)
    folder = tmp_path_factory.mktemp("law") / "index"
    index = PlaidIndex.build(documents, folder, names(len(lengths)), nbits=nbits, codec=kind)
    query = query_of(n_query_tokens, dim)
    results = index.search(query, k, **everything(index, k))
    expect_best(results, truth(query, decoded(index)), k, TOLERANCE)


@pytest.mark.parametrize("n_centroids", [1, None, 100_000])
@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize("lengths", [[1], [300], [0, 1, 0], [3, 3]])
def test_the_smallest_collections_are_searched_exactly(
    tmp_path: Path, lengths: list[int], with_ids: bool, n_centroids: int | None
) -> None:
    documents = corpus(lengths, 8, with_ids=with_ids)
    index = PlaidIndex.build(documents, tmp_path / "i", n_centroids=n_centroids)
    PlaidIndex.check(tmp_path / "i")
    for n in (1, 40):
        query = query_of(n, 8)
        expect_best(index.search(query), truth(query, decoded(index)), 10, TOLERANCE)


def test_equal_documents_are_ordered_by_id_and_equal_tokens_cluster(tmp_path: Path) -> None:
    one = unit_rows([1], 16, seed=4).values
    same = TokenEmbeddings(np.repeat(one, 300, axis=0), np.arange(0, 301, 3))
    index = PlaidIndex.build(same, tmp_path / "i", names(100))
    results = index.search(query_of(4, 16), 7)
    assert [doc.doc_id for doc in results] == sorted(names(100))[:7]
    assert len({doc.score for doc in results}) == 1


def test_all_kinds_of_widths_are_scored_right(tmp_path: Path) -> None:
    for dim, nbits in [(8, 1), (48, 2), (96, 4), (384, 8), (384, 1)]:
        index = PlaidIndex.build(
            corpus([30] * 20, dim), tmp_path / f"{dim}-{nbits}", names(20), nbits=nbits
        )
        for n in (1, 512):
            query = query_of(n, dim)
            scores = truth(query, decoded(index))
            results = index.search(query, 20, n_candidates=20)
            expect_best(results, scores, 20, TOLERANCE * max(1, n / 64))


def test_a_document_of_32768_tokens_is_searched(tmp_path: Path) -> None:
    documents = corpus([32_768, 10, 0, 50], 8)
    index = PlaidIndex.build(documents, tmp_path / "i", names(4), n_centroids=64, nbits=8)
    query = query_of(32, 8)
    expect_best(index.search(query, 4), truth(query, decoded(index)), 4, TOLERANCE)


def test_automatic_settings_find_what_exact_search_finds(plaid: PlaidIndex) -> None:
    documents = dict(zip(names(300), (np.float32(d) for d in DOCUMENTS), strict=True))
    exact = [truth(np.float32(query), documents) for query in QUERIES]
    found = [overlap(plaid.search(query), s, 10) for query, s in zip(QUERIES, exact, strict=True)]
    assert np.mean(found) >= 0.9
    rescored = [plaid.search(query, rescore=DOCUMENTS) for query in QUERIES]
    assert np.mean([overlap(r, s, 10) for r, s in zip(rescored, exact, strict=True)]) >= 0.95


@pytest.mark.parametrize("nprobe", [8, 16])
def test_probing_finds_nearly_what_scanning_does(plaid: PlaidIndex, nprobe: int) -> None:
    for query in QUERIES:
        scanned = {doc.doc_id: doc.score for doc in plaid.search(query, 10)}
        probed = plaid.search(query, 10, nprobe=nprobe, n_candidates=60)
        whole = {doc.doc_id: doc.score for doc in plaid.search(query, 300)}
        # where no document is left out no token is either; else one may be that was to win a little
        lost = np.array([whole[doc.doc_id] - doc.score for doc in probed])
        assert lost.min() >= -TOLERANCE
        assert lost.max() <= 0.05
        if len(query) > 1:
            assert overlap(probed, scanned, 10) >= 0.8


def test_rescoring_gives_the_scores_of_exact_search(plaid: PlaidIndex, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", DOCUMENTS, names(300), 70)
    shuffled = np.random.default_rng(0).permutation(300)
    other = write_store(
        tmp_path / "other", DOCUMENTS.select(shuffled), [f"d{i}" for i in shuffled], 90
    )
    documents = dict(zip(names(300), DOCUMENTS, strict=True))
    lost = []
    for query in QUERIES:
        results = plaid.search(query, 10, rescore=DOCUMENTS)
        assert results == plaid.search(query, 10, rescore=store)
        assert results == plaid.search(query, 10, rescore=other)
        exact = truth(np.float32(query), {doc.doc_id: documents[doc.doc_id] for doc in results})
        lost += [exact[doc_id] - score for doc_id, score in results]
    # a token whose compressed similarity is far below the best is not looked at
    assert min(lost) >= -TOLERANCE
    assert max(lost) <= 0.05
    assert np.mean(np.array(lost) <= TOLERANCE) >= 0.9


def test_embeddings_that_are_not_the_indexs_are_refused_for_rescoring(plaid: PlaidIndex) -> None:
    query = QUERIES[1]
    with pytest.raises(InputError, match="rescore has 299 documents, the index 300"):
        plaid.search(query, rescore=DOCUMENTS[:299])
    lengths = lengths_like_passages(300, seed=9)
    with pytest.raises(InputError, match="documents of other lengths"):
        plaid.search(query, rescore=corpus(lengths))
    with pytest.raises(InputError, match="rescore has dim=8, the index has dim=16"):
        plaid.search(query, rescore=corpus([1] * 300, 8))
    wide = TokenEmbeddings.unchecked(DOCUMENTS.values.astype(np.float64), DOCUMENTS.offsets)
    with pytest.raises(InputError, match="rescore holds float64"):
        plaid.search(query, rescore=wide)
    doubled = np.repeat(DOCUMENTS.values, 2, axis=1)
    with pytest.raises(InputError, match="values that are not contiguous"):
        plaid.search(query, rescore=TokenEmbeddings(doubled[:, ::2], DOCUMENTS.offsets))


def test_a_store_that_lacks_a_document_is_refused_for_rescoring(
    plaid: PlaidIndex, tmp_path: Path
) -> None:
    half = write_store(tmp_path / "half", DOCUMENTS[:150], names(150), 150)
    with pytest.raises(InputError, match="rescore has no document 'd"):
        plaid.search(QUERIES[1], rescore=half)


def test_a_batch_is_its_queries_one_by_one_whatever_the_threads(plaid: PlaidIndex) -> None:
    alone = [plaid.search(query, 20) for query in QUERIES]
    assert plaid.search_batch(QUERIES, 20) == alone
    for n in (1, 2, 3):
        assert plaid.search_batch(QUERIES, 20, n_threads=n) == alone
        assert [plaid.search(query, 20, n_threads=n) for query in QUERIES] == alone
    probed = [plaid.search(query, 5, nprobe=3, n_candidates=30, n_threads=1) for query in QUERIES]
    assert plaid.search_batch(QUERIES, 5, nprobe=3, n_candidates=30, n_threads=2) == probed


def test_many_readers_at_once_get_the_same_answers(plaid: PlaidIndex) -> None:
    expected = [plaid.search(query) for query in QUERIES]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(plaid.search, list(QUERIES) * 20))
    assert found == expected * 20


def test_batches_of_a_store_and_of_nothing(plaid: PlaidIndex, tmp_path: Path) -> None:
    queries = write_store(tmp_path / "queries", QUERIES, names(6), 4)
    found = plaid.search_batch(queries, 5)
    assert found == plaid.search_batch(QUERIES, 5)
    assert plaid.search_batch(TokenEmbeddings.from_list([])) == []


def test_a_query_without_tokens_scores_all_documents_zero(plaid: PlaidIndex) -> None:
    results = plaid.search(np.empty((0, 16), np.float32), 5)
    assert results == [(doc_id, 0.0) for doc_id in sorted(names(300))[:5]]
    assert plaid.search(np.zeros((3, 16)), 5) == results


def test_k_may_be_one_and_more_than_there_are_documents(plaid: PlaidIndex) -> None:
    every = plaid.search(QUERIES[1], 1000)
    assert len(every) == 300
    assert {doc.doc_id for doc in every} == set(names(300))
    assert plaid.search(QUERIES[1], 1) == every[:1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_queries_may_have_any_float_type_and_layout(plaid: PlaidIndex, dtype: str) -> None:
    query = np.asfortranarray(QUERIES[1].astype(dtype))
    assert plaid.search(query) == plaid.search(QUERIES[1])
    assert plaid.search(query.tolist()) == plaid.search(QUERIES[1])


def test_large_values_are_no_fault(tmp_path: Path) -> None:
    documents = TokenEmbeddings(np.full((6, 8), 1e4, np.float16), np.array([0, 2, 6]))
    index = PlaidIndex.build(documents, tmp_path / "i", names(2))
    query = np.ones((1, 8), np.float32)
    assert index.search(query, 1)[0].score == pytest.approx(8e4, rel=1e-2)


def test_what_is_built_is_the_same_whatever_the_layout_of_the_values(tmp_path: Path) -> None:
    values = np.asfortranarray(DOCUMENTS.values.astype(np.float64))
    index = PlaidIndex.build(
        TokenEmbeddings(values, DOCUMENTS.offsets, DOCUMENTS.token_ids), tmp_path / "a", names(300)
    )
    other = PlaidIndex.build(DOCUMENTS, tmp_path / "b", names(300))
    assert index.search_batch(QUERIES) == other.search_batch(QUERIES)


def test_token_ids_that_no_vocabulary_has_are_taken(tmp_path: Path) -> None:
    documents = corpus([20] * 10)
    strange = documents.token_ids.astype(np.int64)
    strange[::3] = -1
    strange[1::7] = 2**31 - 1
    odd = TokenEmbeddings(documents.values, documents.offsets, strange)
    index = PlaidIndex.build(odd, tmp_path / "i", names(10))
    query = query_of(5, 16)
    expect_best(index.search(query), truth(query, decoded(index)), 10, TOLERANCE)


def test_info_counts_every_byte_of_the_folder(plaid: PlaidIndex) -> None:
    info = plaid.info()
    on_disk = sum(path.stat().st_size for path in Path(info["path"]).rglob("*") if path.is_file())
    assert info["bytes"].pop("total") == on_disk == sum(info["bytes"].values())
    assert all(size > 0 for part, size in info["bytes"].items() if part != "deletions")
    assert (info["documents"], info["deleted"], info["segments"]) == (300, 0, 1)
    assert info["tokens"] == DOCUMENTS.n_tokens
    assert info["settings"]["nbits"] == 4
    assert info["bytes_per_token"]["residuals"] == pytest.approx(8, abs=0.1)


def test_membership_follows_additions_and_deletions(tmp_path: Path) -> None:
    index = PlaidIndex.build(corpus([5, 3, 4]), tmp_path / "i", names(3))
    index.add(corpus([4, 4], seed=2), ["x", "y"], merge=False)
    index.delete(["d1", "x"])
    assert [doc_id in index for doc_id in ("d0", "d1", "x", "y", "\ud800")] == [
        *(True, False, False, True, False)
    ]
    assert len(index) == 3


def test_a_flipped_byte_in_any_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    index = PlaidIndex.build(corpus([5, 3, 4]), folder, names(3))
    index.add(corpus([4, 4], seed=2), ["x", "y"], merge=False)
    index.delete(["d1"])
    PlaidIndex.check(folder)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) > 30
    for path in files:
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[-1 - len(whole) // 7] ^= 4
        path.write_bytes(broken)
        with pytest.raises(StorageError, match=path.name):
            PlaidIndex.check(folder)
        path.write_bytes(whole)
    PlaidIndex.check(folder)


@pytest.mark.parametrize("n_bytes", [4, 16])
def test_tokens_that_do_not_fit_the_codec_are_refused(tmp_path: Path, n_bytes: int) -> None:
    folder = tmp_path / "i"
    PlaidIndex.build(corpus([5, 3, 4]), folder, names(3))  # 8 bytes a token
    manifest = read_manifest(folder)
    segment = folder / "segment-00000"
    write_array(segment / "residuals.npy", np.zeros((12, n_bytes), np.uint8))
    record = record_segment(segment, segment.name, n_docs=3, n_tokens=12)
    commit(folder, manifest.model_copy(update={"segments": (record,)}))
    with pytest.raises(StorageError, match=rf"residuals.npy has {n_bytes} bytes a row"):
        PlaidIndex.load(folder)


def test_an_index_is_found_after_the_process_went_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index = PlaidIndex.build(corpus([5, 3]), "here", ["a", "b"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    index.delete(["a"])
    assert PlaidIndex.load(tmp_path / "here").n_docs == 1


def test_a_pickled_index_is_loaded_again_with_its_settings_and_answers_the_same(
    plaid: PlaidIndex, tmp_path: Path
) -> None:
    index = copy_of(plaid, tmp_path / "i")
    one = PlaidIndex.load(tmp_path / "i", n_threads=1)
    for original in (index, one, copy.deepcopy(one)):
        again = pickle.loads(pickle.dumps(original))
        assert again._settings == original._settings
        assert again._threads.n == original._threads.n
        assert again.search_batch(QUERIES, 20) == original.search_batch(QUERIES, 20)
    content = pickle.dumps(index)
    shutil.rmtree(tmp_path / "i")
    with pytest.raises(StorageError, match=r"there is no index .*build it first"):
        pickle.loads(content)


@pytest.mark.slow
def test_processes_that_are_spawned_search_an_index_given_to_them(plaid: PlaidIndex) -> None:
    queries = list(QUERIES)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(plaid.search, queries)
    assert found == [plaid.search(query) for query in queries]
