"""Exact search with documents of int8, on the CPU."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import unit_rows

from colmodern import ExactIndex, TokenEmbeddings
from colmodern.errors import InputError, ResourceError
from colmodern.index.exact.int8 import Int8Search
from colmodern.kernels import device as device_module
from colmodern.kernels import torch_exact
from colmodern.kernels.cpu.int8 import Int8Documents
from colmodern.kernels.reference import maxsim
from colmodern.ragged.store import ShardWriter

LENGTHS = [4, 1, 9, 0, 30, 2, 7, 31, 33, 127]
QUERIES = [3, 0, 16, 17, 33, 70, 1, 32, 5]  # more than are taken one after another


def rounded(documents: TokenEmbeddings) -> TokenEmbeddings:
    """What int8 makes of them: the truth of this search but for the query's own rounding."""
    kept = Int8Documents(documents.values, documents.offsets)
    values = kept.rounded.astype(np.float32) * kept.scales[:, None]
    return TokenEmbeddings(values, documents.offsets)


@pytest.mark.parametrize("dim", [48, 64, 96, 128])
@pytest.mark.parametrize("n_queries", [1, 9])
@pytest.mark.parametrize("budget", ["1G", "400K"])
def test_scores_are_those_of_the_rounded_documents(dim: int, n_queries: int, budget: str) -> None:
    documents, queries = unit_rows(LENGTHS, dim, 0), unit_rows(QUERIES[-n_queries:], dim, 1)
    index = ExactIndex(documents, max_memory=budget, precision="int8")
    truth = rounded(documents)
    parts = (queries.values, queries.offsets, truth.values, truth.offsets)
    expected = maxsim.maxsim_scores(*parts)
    for _ in range(2):  # rounded first, then kept
        found = index.search_batch(queries, len(documents))
        for results, scores, length in zip(found, expected, queries.lengths, strict=True):
            assert len(results) == len(documents)
            own = [scores[int(doc_id)] for doc_id, _ in results]
            np.testing.assert_allclose([s for _, s in results], own, 0, 0.003 * length + 1e-6)
            assert [s for _, s in results] == sorted((s for _, s in results), reverse=True)
    np.testing.assert_allclose(torch_exact.maxsim_scores(*parts), expected, 0, 1e-4)


def test_a_width_that_bytes_do_not_divide_is_the_same_search() -> None:
    documents, queries = unit_rows(LENGTHS, 30, 0), unit_rows([8, 20], 30, 1)
    wide = [
        TokenEmbeddings(np.pad(one.values, ((0, 0), (0, 2))), one.offsets)
        for one in (documents, queries)
    ]
    found = ExactIndex(documents, precision="int8").search_batch(queries, 5)
    assert found == ExactIndex(wide[0], precision="int8").search_batch(wide[1], 5)


def test_what_does_not_fit_is_rounded_anew_with_the_same_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents, queries = unit_rows(LENGTHS * 20, 64, 0, "float16"), unit_rows(QUERIES, 64, 1)
    writer = ShardWriter(tmp_path, fingerprint="x")
    for first in range(0, len(documents), 50):
        writer.add(documents[first : first + 50], [str(i) for i in range(first, first + 50)])
    writer.finish()
    expected = ExactIndex(documents, precision="int8").search_batch(queries, 12)
    for budget in ("100M", "300K"):
        index = ExactIndex.load(tmp_path, max_memory=budget, precision="int8")
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert index.search_batch(queries, 12) == expected
            assert index.search(queries[4], 12) == expected[4]
        assert ("rounds the documents again" in caplog.text) == (budget == "300K")


def test_many_short_documents_and_queries_keep_to_the_budget() -> None:
    documents, queries = unit_rows([1] * 3000, 16, 0), unit_rows([2] * 300, 16, 1)
    index = ExactIndex(documents, max_memory=1_000_000, precision="int8")
    some = ExactIndex(documents, precision="int8").search_batch(queries, 3)
    assert index.search_batch(queries, 3) == some
    pieces = [scores.nbytes for _, scores in Int8Search(documents, 1_000_000).search(queries)]
    assert len(pieces) > 3
    assert max(pieces) < 1_000_000


def test_nothing_in_it_and_bad_arguments() -> None:
    empty, queries = TokenEmbeddings.from_list([], dim=24), unit_rows([3], 24, 0)
    assert ExactIndex(empty, precision="int8").search(queries[0], 3) == []
    documents = unit_rows(LENGTHS, 24, 1)
    assert ExactIndex(documents, precision="int8").search_batch(empty) == []
    nothing = TokenEmbeddings.from_list([np.zeros((0, 24), np.float32)] * 2)
    results = ExactIndex(nothing, precision="int8").search(queries[0], 3)
    assert [score for _, score in results] == [0.0, 0.0]
    with pytest.raises(InputError, match=r"precision='int4'; choose one of 'float32', 'int8'"):
        ExactIndex(documents, precision="int4")  # type: ignore[arg-type]
    long = unit_rows([9000], 24, 1)
    with pytest.raises(ResourceError, match=r"too small for a document of 9000 tokens; give at"):
        ExactIndex(long, max_memory=100_000, precision="int8").search(queries[0])


def test_a_gpu_without_triton_leaves_int8_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device_module, "_expect_usable", lambda gpu, name, setting: None)
    monkeypatch.setitem(sys.modules, "triton", None)
    documents = unit_rows(LENGTHS, 16, 0)
    index = ExactIndex(documents, device="cuda:0", precision="int8")
    assert index.device == "cpu"
    assert "exact search runs on the CPU" in caplog.text
    assert len(index.search(documents[2], 2)) == 2


def test_the_ranking_is_nearly_that_of_float32() -> None:
    """On tokens that lie near each other, as those of texts do.

    experiments/log/exact.md has real collections.
    """
    rng = np.random.default_rng(0)
    words = unit_rows([400], 128, 0)[0]

    def texts(n: int, length: int, noise: float) -> TokenEmbeddings:
        rows = words[rng.integers(0, 400, n * length)] + noise * rng.normal(size=(n * length, 128))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return TokenEmbeddings(rows.astype(np.float32), np.arange(n + 1) * length)

    documents, queries = texts(400, 60, 0.05), texts(20, 12, 0.05)
    pairs = zip(
        ExactIndex(documents).search_batch(queries, 10),
        ExactIndex(documents, precision="int8").search_batch(queries, 10),
        strict=True,
    )
    common = [len({d for d, _ in a} & {d for d, _ in b}) / 10 for a, b in pairs]
    assert np.mean(common) > 0.97
