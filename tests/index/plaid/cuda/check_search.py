"""Search of a compressed index on GPUs equals that on the CPU.

Run by tests/index/test_cuda.py in a process of its own, in Triton's interpreter or on a GPU.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from index.alike import TOLERANCE, assert_alike, several_gpus
from index.plaid.corpora import corpus, decoded, lengths_like_passages, names, truth, write_store
from kernels.cuda.device_inputs import DividesAsGpus

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.codecs import cuda as codecs_cuda
from colmodern.errors import InputError, ResourceError
from colmodern.index.plaid.cuda import search as cuda_plaid
from colmodern.index.plaid.cuda import stages
from colmodern.index.plaid.cuda import stored as cuda_stored
from colmodern.kernels.cuda import assign
from colmodern.kernels.cuda.assign import assign_centroids
from colmodern.kernels.cuda.exact import quantize_tokens

N = 64  # few: every document costs the interpreter milliseconds
DOCUMENTS = corpus(lengths_like_passages(N), 48)
QUERIES = corpus([1, 31, 33, 70, 12], 48, seed=1)
THREE_STAGES = {"n_candidates": 36}  # of which the best are refined, and of those the best scored


@pytest.fixture(
    scope="module",
    params=[(4, "residual"), pytest.param((2, "pq"), marks=pytest.mark.slow)],
    ids=["4 bits", "2 bits"],
)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    nbits, codec = request.param
    path = tmp_path_factory.mktemp("plaid") / "index"
    PlaidIndex.build(DOCUMENTS, path, names(N), nbits=nbits, codec=codec)
    return path


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plaid") / "index"
    PlaidIndex.build(DOCUMENTS, path, names(N))
    return path


def test_a_gpu_finds_what_the_cpu_finds(path: Path) -> None:
    on_gpu, on_cpu = PlaidIndex.load(path, device="cuda"), PlaidIndex.load(path)
    found = on_gpu.search_batch(QUERIES, 5, **THREE_STAGES, exact=True)  # as without
    expected = on_cpu.search_batch(QUERIES, 5, **THREE_STAGES)
    tokens = decoded(on_cpu)
    for query, some, others in zip(QUERIES, found, expected, strict=True):
        # each prunes by integers of its own, and the CPU passes over tokens that rarely win
        assert len({doc.doc_id for doc in some} & {doc.doc_id for doc in others}) >= 4
        exact = truth(query.astype(np.float32), {doc.doc_id: tokens[doc.doc_id] for doc in some})
        for doc in some:
            assert doc.score == pytest.approx(exact[doc.doc_id], abs=TOLERANCE)
    assert_alike(on_gpu.search(QUERIES[2], 5, **THREE_STAGES), found[2])


def test_a_batch_finds_what_single_queries_find(four_bits: Path) -> None:
    index = PlaidIndex.load(four_bits, device="cuda")
    queries = corpus([3, 9, 16, 1, 12, 5, 7, 2], 48, seed=3)
    found = index.search_batch(queries, 3, **THREE_STAGES)
    for query, some in zip(queries, found, strict=True):
        assert_alike(index.search(query, 3, **THREE_STAGES), some)


@pytest.mark.slow
def test_with_all_candidates_the_rankings_are_the_same(path: Path) -> None:
    on_gpu, on_cpu = PlaidIndex.load(path, device="cuda"), PlaidIndex.load(path)
    for query in (QUERIES[0], QUERIES[3]):
        found = on_gpu.search(query, 15, n_candidates=N)
        assert_alike(found, on_cpu.search(query, 15, n_candidates=N))


def test_filters_deletions_and_additions(tmp_path: Path) -> None:
    path = tmp_path / "index"
    PlaidIndex.build(DOCUMENTS, path, names(N))
    on_gpu = PlaidIndex.load(path, device="cuda")
    first = on_gpu.search(QUERIES[1], 5)
    on_gpu.delete([first[0].doc_id])
    assert_alike(on_gpu.search(QUERIES[1], 4, **THREE_STAGES), first[1:])
    on_gpu.add(corpus([9, 0, 12], 48, seed=5), names(3, "new"))
    expected = PlaidIndex.load(path)
    for chosen in (
        None,
        [*names(3, "new"), "d1", "d3", first[0].doc_id],
        lambda doc_id: "7" in doc_id,
    ):
        found = on_gpu.search(QUERIES[1], 6, filter=chosen)
        assert_alike(found, expected.search(QUERIES[1], 6, filter=chosen))
    assert on_gpu.search(QUERIES[1], 6, filter=[]) == []
    assert on_gpu.search_batch(QUERIES, 6, filter=set()) == [[]] * len(QUERIES)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("float32", marks=pytest.mark.slow)])
def test_embeddings_that_rescore_stay_on_the_gpu_where_they_fit(
    four_bits: Path, tmp_path: Path, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    documents = TokenEmbeddings(DOCUMENTS.values.astype(dtype), DOCUMENTS.offsets)
    store = write_store(tmp_path / "store", documents, names(N), 40)
    roomy = PlaidIndex.load(four_bits, device="cuda")
    roomy.search(QUERIES[0], 1)
    index_bytes = filled(roomy).corpora[0].n_bytes
    tight = PlaidIndex.load(four_bits, device="cuda", device_max_memory=index_bytes + 1000)
    query, options = QUERIES[4], {"k": 6, "rescore": store, "n_candidates": N}
    expected = PlaidIndex.load(four_bits).search(query, **options)
    assert_alike(tight.search(query, **options), expected)
    assert "not kept on the GPU: they take" in caplog.text
    assert filled(tight)._kept == (store, None)
    caplog.clear()
    assert_alike(roomy.search(query, **options), expected)
    assert not caplog.text
    _, kept = filled(roomy)._kept
    np.testing.assert_array_equal(kept[0].values.cpu().numpy(), documents.values)
    # from then on nothing is read from the host: what it has there may be gone
    stored = roomy._latest_stored
    stored.select = stored._verified_docs = None
    three_stages = {**options, "n_candidates": 36, "k": 2}
    assert_alike(roomy.search(query, **three_stages), expected[:2])
    assert roomy.search(query, 2)[0].score != expected[0].score


def test_embeddings_that_stay_on_the_gpu_follow_deletions_additions_and_filters(
    tmp_path: Path,
) -> None:
    path, ids = tmp_path / "index", names(N)
    PlaidIndex.build(DOCUMENTS, path, ids)
    on_gpu = PlaidIndex.load(path, device="cuda")
    on_gpu.delete(["d3"])
    # the store has another document of that name, and lacks one that is deleted later
    lengths = DOCUMENTS.lengths.copy()
    lengths[3] += 1
    other = TokenEmbeddings.from_list(
        [corpus([int(n)], 48, seed=9)[0] if i == 3 else DOCUMENTS[i] for i, n in enumerate(lengths)]
    )
    store = write_store(tmp_path / "store", other, ids, 40)

    def assert_as_on_the_cpu(**options: Any) -> None:
        found = on_gpu.search(QUERIES[0], 5, rescore=store, n_candidates=N, **options)
        on_cpu = PlaidIndex.load(path).search(
            QUERIES[0], 5, rescore=store, n_candidates=N, **options
        )
        assert_alike(found, on_cpu)
        assert filled(on_gpu)._kept[1] is not None

    assert_as_on_the_cpu(filter=["d1", "d40", "d41"])
    assert_as_on_the_cpu()
    on_gpu.delete([on_gpu.search(QUERIES[0], 1)[0].doc_id])
    assert_as_on_the_cpu()
    on_gpu.add(corpus([12], 48, seed=5), ["new"])
    store = write_store(
        tmp_path / "grown",
        TokenEmbeddings.from_list([*other, corpus([12], 48, seed=5)[0]]),
        [*ids, "new"],
        70,
    )
    assert_as_on_the_cpu()


def test_embeddings_of_which_one_cannot_be_used_stay_with_the_host(
    four_bits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = TokenEmbeddings(np.array(DOCUMENTS.values), DOCUMENTS.offsets)
    index = PlaidIndex.load(four_bits, device="cuda")
    worst = index.search(QUERIES[0], N - 5, n_candidates=N)[-1].doc_id
    stored.values[stored.offsets[int(worst[1:])], 5] = np.nan
    for _ in range(2):
        found = index.search(QUERIES[0], 2, rescore=stored, n_candidates=40)
    assert_alike(found, PlaidIndex.load(four_bits).search(QUERIES[0], 2, rescore=DOCUMENTS))
    assert caplog.text.count(f"rescore has embeddings of document '{worst}' that are not") == 1


def test_a_gpu_without_memory_for_embeddings_reads_them_from_the_host(
    four_bits: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*given: object) -> None:
        raise torch.cuda.OutOfMemoryError("injected")

    monkeypatch.setattr(cuda_stored, "_values", full)
    index = PlaidIndex.load(four_bits, device="cuda")
    found = index.search(QUERIES[0], 3, rescore=DOCUMENTS, n_candidates=N)
    expected = PlaidIndex.load(four_bits).search(QUERIES[0], 3, rescore=DOCUMENTS, n_candidates=N)
    assert_alike(found, expected)
    assert "out of memory (injected)" in caplog.text


def filled(index: PlaidIndex) -> cuda_plaid.CudaSearch:
    """The GPUs of an index that was searched."""
    return index._cuda._filled[1]


def assert_all_alike(found: Any, expected: Any) -> None:
    for some, others in zip(found, expected, strict=True):
        assert_alike(some, others)


@pytest.mark.slow
def test_rescoring_from_stored_embeddings(four_bits: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", DOCUMENTS, names(N), 70)
    on_gpu, on_cpu = PlaidIndex.load(four_bits, device="cuda"), PlaidIndex.load(four_bits)
    some = QUERIES[:2]
    for source in (DOCUMENTS, store):
        found = on_gpu.search_batch(some, 4, rescore=source, n_candidates=N)
        expected = on_cpu.search_batch(some, 4, rescore=source, n_candidates=N)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_stored_embeddings_that_are_not_finite_are_refused_by_name(
    four_bits: Path, value: float
) -> None:
    stored = TokenEmbeddings(np.array(DOCUMENTS.values), DOCUMENTS.offsets)
    stored.values[stored.offsets[9], 5] = value
    index = PlaidIndex.load(four_bits, device="cuda")
    with pytest.raises(InputError, match="rescore has embeddings of document 'd9' that are not"):
        index.search(QUERIES[0], N, rescore=stored, n_candidates=N)


def test_several_gpus_share_the_documents(four_bits: Path) -> None:
    expected = PlaidIndex.load(four_bits, device="cuda").search_batch(
        QUERIES[:2], 5, n_candidates=N
    )
    for device in several_gpus():
        index = PlaidIndex.load(four_bits, device=device)
        found = index.search_batch(QUERIES[:2], 5, n_candidates=N)
        assert_all_alike(found, expected)
        found = index.search_batch(QUERIES[:2], 5, n_candidates=N, rescore=DOCUMENTS)
        on_cpu = PlaidIndex.load(four_bits)
        assert_all_alike(
            found, on_cpu.search_batch(QUERIES[:2], 5, n_candidates=N, rescore=DOCUMENTS)
        )


@pytest.mark.slow
def test_residuals_that_do_not_fit_stay_with_the_host(
    four_bits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roomy = PlaidIndex.load(four_bits, device="cuda").search(QUERIES[1], 5)
    tight = PlaidIndex.load(four_bits, device="cuda", device_max_memory=40_000)
    with caplog.at_level(logging.WARNING):
        assert_alike(tight.search(QUERIES[1], 5), roomy)
    assert "pinned memory" in caplog.text
    with pytest.raises(ResourceError, match=r"codes .* take .* bytes, but 1,000 may be used"):
        PlaidIndex.load(four_bits, device="cuda", device_max_memory=1000).search(QUERIES[1], 10)


def test_out_of_memory_halves_the_tile_and_goes_on(
    four_bits: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    index = PlaidIndex.load(four_bits, device="cuda")
    queries = TokenEmbeddings.from_list([QUERIES[4]] * 4)
    expected = index.search(QUERIES[4], 5)
    tiles: list[int] = []
    fits = 2

    def find(corpus: object, given: torch.Tensor, *rest: object) -> torch.Tensor:
        tiles.append(len(given))
        if len(given) > fits:
            raise torch.cuda.OutOfMemoryError("injected")
        return stages.find(corpus, given, *rest)

    monkeypatch.setattr(cuda_plaid, "find", find)
    with caplog.at_level(logging.WARNING):
        for found in index.search_batch(queries, 5):
            assert_alike(found, expected)
    assert tiles[0] > fits >= tiles[-1]
    assert "out of memory" in caplog.text
    fits = 0
    with pytest.raises(ResourceError, match="no memory left for one query"):
        index.search(QUERIES[4], 5)


def test_an_index_and_a_build_that_find_no_memory_say_what_to_do(
    four_bits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise torch.cuda.OutOfMemoryError("injected")

    monkeypatch.setattr(cuda_plaid, "upload", full)
    with pytest.raises(
        ResourceError, match=r"for the index \(injected\); free some, lower device_max_memory"
    ):
        PlaidIndex.load(four_bits, device="cuda").search(QUERIES[1], 5)
    monkeypatch.setattr(codecs_cuda, "assign_centroids", full)
    with pytest.raises(
        ResourceError,
        match=r"a document \(injected\); free some, lower n_centroids, or give device",
    ):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", names(N), device="cuda")


@pytest.mark.parametrize("with_ids", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["plain", "odd", pytest.param("tiny", marks=pytest.mark.slow)])
def test_an_index_built_on_a_gpu_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_ids: bool, kind: str
) -> None:
    def quantize(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with DividesAsGpus():
            return quantize_tokens(values)

    monkeypatch.setattr(assign, "quantize_tokens", quantize)
    documents = corpus([15] * 40, 48, with_ids=with_ids)
    if kind == "odd":
        make_odd(documents.values)
    elif kind == "tiny":
        documents.values[:] = documents.values * np.float16(2**-12)  # most are subnormal
    for device in ("cpu", "cuda"):
        PlaidIndex.build(documents, tmp_path / device, names(40), device=device)
    assert_same_bytes(tmp_path / "cuda", tmp_path / "cpu")


def make_odd(values: np.ndarray) -> None:
    """Put values at their ends, between bytes and beside each other into float16 rows."""
    values[0::7] = values[0]  # equal tokens
    values[1::7] = 0
    values[2::7] = np.where(np.arange(values.shape[1]) % 2, 0.0, -0.0)
    values[3::7, :] = (np.arange(values.shape[1]) + 0.5) * 2.0**-7  # halves of bytes,
    values[3::7, 0] = 127 * 2.0**-7  # of which this is the largest
    values[4::7] *= np.float16(2**-12)  # subnormal
    values[5::7] = np.sign(values[5::7])  # all as large as the largest


@pytest.mark.parametrize("with_ids", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_build_that_runs_out_of_memory_halves_the_tile_and_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    with_ids: bool,
) -> None:
    documents = corpus([15] * 40, 48, with_ids=with_ids)
    PlaidIndex.build(documents, tmp_path / "cpu", names(40))
    tried: list[int] = []

    def assign(values: torch.Tensor, *rest: Any) -> None:
        tried.append(len(values))
        if len(values) > 250:
            raise torch.cuda.OutOfMemoryError("injected")
        assign_centroids(values, *rest)

    monkeypatch.setattr(codecs_cuda, "assign_centroids", assign)
    with caplog.at_level(logging.WARNING):
        PlaidIndex.build(documents, tmp_path / "cuda", names(40), device="cuda")
    assert_same_bytes(tmp_path / "cuda", tmp_path / "cpu")
    assert tried[:5] == [600, 300, 150, 150, 150]
    assert "out of memory: continuing with 10 documents at a time" in caplog.text


def assert_same_bytes(folder: Path, other: Path) -> None:
    files = [path.relative_to(other) for path in other.rglob("*.npy")]
    assert files
    for file in files:
        assert (folder / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.slow
def test_queries_are_checked_and_huge_values_do_not_overflow(four_bits: Path) -> None:
    on_gpu, on_cpu = PlaidIndex.load(four_bits, device="cuda"), PlaidIndex.load(four_bits)
    with pytest.raises(InputError, match="dim=16"):
        on_gpu.search(np.zeros((2, 16), np.float32))
    query = QUERIES[1].astype(np.float32) * np.float32(1e8)
    found, expected = (index.search(query, 5, n_candidates=N) for index in (on_gpu, on_cpu))
    assert [doc.doc_id for doc in found] == [doc.doc_id for doc in expected]
    assert on_gpu.search(np.zeros((0, 48), np.float32), 3)[0].score == 0.0
