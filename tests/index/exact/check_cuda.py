"""Exact search on GPUs equals that on the CPU.

Run by tests/index/test_cuda.py in a process of its own, in Triton's interpreter or on a GPU.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import unit_rows
from index.alike import assert_alike, several_gpus
from index.plaid.corpora import names, write_store

from colmodern import ExactIndex, Reranker, TokenEmbeddings, rerank
from colmodern.errors import InputError, ResourceError
from colmodern.index.exact import candidates
from colmodern.index.exact import cuda as cuda_exact
from colmodern.kernels.device import Devices, resolve_device
from colmodern.types import Precision

LENGTHS = [7, 0, 33, 1, 127, 20, 31, 64, 2, 5, 5, 9]
QUERIES = unit_rows([32, 0, 70, 5], 48, 1)


def documents(dtype: str) -> TokenEmbeddings:
    return unit_rows(LENGTHS, 48, 0, dtype)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("float32", marks=pytest.mark.slow)])
def test_a_gpu_ranks_as_the_cpu(dtype: str, tmp_path: Path) -> None:
    given = documents(dtype)
    store = write_store(tmp_path / "store", given, names(len(given)), 6)
    expected = ExactIndex(given, names(len(given))).search_batch(QUERIES, 6)
    for index in (
        ExactIndex(given, names(len(given)), device="cuda"),
        ExactIndex.load(store.folder, device="cuda"),
    ):
        for found, others in zip(index.search_batch(QUERIES, 6), expected, strict=True):
            assert_alike(found, others)
        assert_alike(index.search(QUERIES[3], 100), index.search(QUERIES[3], 100))
        assert len(index.search(QUERIES[3], 100)) == len(given)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("float32", marks=pytest.mark.slow)])
def test_int8_documents_rank_as_on_the_cpu(dtype: str) -> None:
    given, options = documents(dtype), {"precision": "int8"}
    expected = ExactIndex(given, **options).search_batch(QUERIES, 12)
    found = ExactIndex(given, device="cuda", **options).search_batch(QUERIES, 12)
    for query, some, others in zip(QUERIES, found, expected, strict=True):
        scores = dict(others)
        assert scores.keys() == dict(some).keys()
        for doc_id, score in some:  # the CPU rounds queries too
            assert score == pytest.approx(scores[doc_id], abs=0.003 * len(query) + 1e-6)
    tight = ExactIndex(given, device="cuda", device_max_memory=120_000, **options)
    for some, others in zip(tight.search_batch(QUERIES[:2], 6), found, strict=False):
        assert_alike(some, others[:6])


def test_equal_scores_come_in_the_order_of_ids() -> None:
    one = unit_rows([5], 48, 0, "float16")[0]
    given = TokenEmbeddings.from_list([one] * 60)
    ids = [f"d{i * 37 % 60:02}" for i in range(60)]
    found = ExactIndex(given, ids, device="cuda").search(QUERIES[0], 7)
    assert [doc.doc_id for doc in found] == sorted(ids)[:7]


@pytest.mark.parametrize(
    ("dtype", "precision", "memory"),
    [
        ("float16", "float32", None),
        pytest.param("float32", "float32", None, marks=pytest.mark.slow),
        pytest.param("float16", "int8", None, marks=pytest.mark.slow),
        pytest.param("float16", "float32", 40_000, marks=pytest.mark.slow),
    ],
)
def test_copies_of_documents_come_in_the_order_of_ids(
    dtype: str, precision: Precision, memory: int | None
) -> None:
    """Of more copies than a search keeps beyond k, also where others score better and worse."""
    rng = np.random.default_rng(5)
    kinds = unit_rows([3, 1, 9], 48, 3, dtype)
    kind = rng.permutation([0] * 3 + [1] * 46 + [2] * 11)
    given = TokenEmbeddings.from_list([kinds[i] for i in kind])
    ids = [f"d{number:02}" for number in rng.permutation(len(kind))]
    index = ExactIndex(given, ids, device="cuda", precision=precision, device_max_memory=memory)
    queries = TokenEmbeddings.from_list([QUERIES[1], QUERIES[3], kinds[1]])
    on_cpu = ExactIndex(kinds)
    for k in (2, 7):
        batch = index.search_batch(queries, k)
        for query, found in zip(queries, batch, strict=True):
            scores = dict(on_cpu.search(query, 3))
            expected = sorted(range(60), key=lambda i: (-scores[str(kind[i])], ids[i]))
            assert [doc.doc_id for doc in found] == [ids[i] for i in expected[:k]]
        assert_alike(index.search(queries[2], k), batch[2])


@pytest.mark.slow
def test_embeddings_that_do_not_fit_pass_through(caplog: pytest.LogCaptureFixture) -> None:
    given = documents("float16")
    expected = ExactIndex(given).search_batch(QUERIES, 6)
    for device in ("cuda", *several_gpus()):
        tight = ExactIndex(given, device_max_memory=60_000, device=device)
        with caplog.at_level(logging.WARNING):
            for found, others in zip(tight.search_batch(QUERIES, 6), expected, strict=True):
                assert_alike(found, others)
        assert "do not fit" in caplog.text
    with pytest.raises(
        ResourceError, match=r"a document of .* tokens takes .* raise device_max_memory"
    ):
        ExactIndex(given, device_max_memory=10_000, device="cuda").search(QUERIES[0], 6)


@pytest.mark.slow
def test_several_gpus_share_the_documents() -> None:
    given = documents("float32")
    expected = ExactIndex(given).search_batch(QUERIES, 6)
    for device in several_gpus():
        found = ExactIndex(given, device=device).search_batch(QUERIES, 6)
        for some, others in zip(found, expected, strict=True):
            assert_alike(some, others)


def test_out_of_memory_halves_the_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cuda_exact._find
    queries = unit_rows([3] * 5, 48, 2)
    expected = ExactIndex(documents("float32")).search_batch(queries, 3)

    def find(piece: object, given: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(given) > 1:
            raise torch.cuda.OutOfMemoryError("injected")
        return plain(piece, given, *rest)

    monkeypatch.setattr(cuda_exact, "_find", find)
    found = ExactIndex(documents("float32"), device="cuda").search_batch(queries, 3)
    for some, others in zip(found, expected, strict=True):
        assert_alike(some, others)


def test_a_gpu_with_less_room_than_it_said_lets_documents_pass_through(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = documents("float32")[:5]
    index, calls = ExactIndex(given, device="cuda"), []

    def stay(self: object) -> None:
        calls.append(1)
        raise torch.cuda.OutOfMemoryError("injected")

    monkeypatch.setattr(cuda_exact.CudaExact, "_resident_chunks", stay)
    expected = ExactIndex(given).search(QUERIES[3], 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_alike(index.search(QUERIES[3], 3), expected)
    assert len(calls) == caplog.text.count("out of memory (injected)") == 1


def test_nothing_in_it() -> None:
    empty = TokenEmbeddings.from_list([], dim=48)
    assert ExactIndex(empty, device="cuda").search_batch(QUERIES, 3) == [[]] * 4
    assert ExactIndex(documents("float32"), device="cuda").search_batch(empty, 3) == []
    two = TokenEmbeddings.from_list([np.zeros((0, 48), np.float32)] * 2)
    assert [doc.score for doc in ExactIndex(two, device="cuda").search(QUERIES[0], 3)] == [0.0, 0.0]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_reranker_ranks_on_a_gpu(
    pylate_bert: Path, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["open the file", "sort names", "", "parse a date string and read the day"]
    expected = Reranker(pylate_bert).rank("read a file", texts)
    on_gpu = {} if not torch.cuda.is_available() else {"device": "cuda"}
    ranker = Reranker(pylate_bert, precision=precision, **on_gpu)
    # the encoder stays where it can run, its embeddings are scored where kernels are
    monkeypatch.setattr(rerank, "resolve_device", lambda *given, **rest: resolve_device("cuda"))
    for _ in range(3):
        found = ranker.rank("read a file", texts)
        assert [doc.doc_id for doc in found] == [doc.doc_id for doc in expected]
        tolerance = 1e-3 if precision == "float32" else 0.1
        np.testing.assert_allclose(
            [d.score for d in found], [d.score for d in expected], 0, tolerance
        )
    assert pickle.loads(pickle.dumps(ranker)).rank("read a file", texts) == found


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_candidates_of_any_shape_are_scored_in_buffers_of_few(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_FEWEST_TOKENS", 64)
    most = 70_000 * np.dtype(dtype).itemsize  # two or three buffers
    monkeypatch.setattr(candidates, "_MOST_BYTES", most)
    devices, shapes = resolve_device("cuda"), set()
    scorer = candidates.CandidateScorer(devices.gpus[0])
    # long documents, then fewer and shorter ones in the same buffer, then one without tokens
    for lengths in ([40, 9], [3], [5, 50, 1], [33, 4, 18] * 6, [], [0], [2, 0, 2], [33, 4, 18] * 6):
        some = unit_rows(lengths, 48, len(lengths), dtype)
        index = candidates.CandidateIndex(some, names(len(some)), devices, scorer)
        expected = ExactIndex(some, names(len(some))).search_batch(QUERIES, 20)
        for found, others in zip(index.search_batch(QUERIES, 20), expected, strict=True):
            assert_alike(found, others)
        shapes |= scorer._buffers.keys()
        assert sum(buffer.nbytes for buffer in scorer._buffers.values()) <= most
    assert 1 < len(scorer._buffers) < len(shapes)
    monkeypatch.setattr(candidates, "_LARGEST", 100)
    index = candidates.CandidateIndex(some, names(len(some)), devices, scorer)
    assert isinstance(index._cuda, cuda_exact.CudaExact)
    assert_alike(index.search(QUERIES[0], 5), expected[0][:5])


def test_documents_are_taken_whose_buffer_with_its_spare_room_is_small_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = candidates.CandidateScorer(resolve_device("cuda").gpus[0])
    monkeypatch.setattr(candidates, "_LARGEST", 2048 * 48 * 2)
    assert scorer.takes(unit_rows([1024], 48, 0, "float16"))
    assert not scorer.takes(unit_rows([1025], 48, 0, "float16"))  # in a buffer of 2048 tokens


def test_a_reranker_whose_encoder_moves_scores_on_its_device(pylate_bert: Path) -> None:
    ranker, some = Reranker(pylate_bert), documents("float16")
    kind = resolve_device("cuda").gpus[0].type  # "cpu" in the interpreter
    for gpu in (torch.device(kind), torch.device(kind, 0), torch.device(kind, 0)):
        ranker._index(some, names(12), Devices("cuda", (gpu,))).search(QUERIES[3], 3)
        scorer = ranker._scorer
        assert scorer is not None
        assert scorer.device == gpu


def test_a_gpu_without_memory_for_candidates_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise torch.cuda.OutOfMemoryError("injected")

    devices = resolve_device("cuda")
    scorer = candidates.CandidateScorer(devices.gpus[0])
    monkeypatch.setattr(candidates, "score_documents", full)
    index = candidates.CandidateIndex(documents("float16"), names(12), devices, scorer)
    with pytest.raises(ResourceError, match=r"candidates of a query \(injected\); rerank fewer"):
        index.search(QUERIES[0], 3)


@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_document_that_is_not_finite_is_named_where_it_is_read(
    tmp_path: Path, value: float, dtype: str, is_int8: bool
) -> None:
    texts = documents(dtype)
    texts.values[5, 3] = value  # after it was checked
    write_store(tmp_path, texts, names(len(texts)), len(texts))
    precision = "int8" if is_int8 else "float32"
    for memory in (None, 120_000):  # documents that stay, and that pass through
        index = ExactIndex.load(
            tmp_path, device="cuda", device_max_memory=memory, precision=precision
        )
        for _ in range(2):
            with pytest.raises(InputError, match=r"document 0 .*doc_id='d0'.* not finite"):
                index.search(QUERIES[0], 2)
