from __future__ import annotations

import numpy as np
import pytest
import torch
from kernels.cuda.device_inputs import (
    DEVICE,
    LENGTHS,
    SLOW_IN_PART,
    DividesAsGpus,
    padded,
    to_device,
    unit,
)

from colmodern.kernels.cpu.int8 import Int8Documents
from colmodern.kernels.cuda import exact
from colmodern.kernels.cuda.lanes import pad_queries
from colmodern.kernels.reference import cuda as reference_cuda
from colmodern.kernels.reference import maxsim
from colmodern.ragged.offsets import offsets_of

# float16 queries beside float32 ones, for up to 70 query tokens of length 1
TOLERANCE = {"float32": 2e-5, "float16": 3e-3}


def assert_scores(queries: list[int], documents: list[int], dim: int, dtype: str) -> None:
    rng = np.random.default_rng(dim)
    query_values, query_offsets = unit(rng, sum(queries), dim), offsets_of(queries)
    values, offsets = unit(rng, sum(documents), dim).astype(dtype), offsets_of(documents)
    found = exact.maxsim_scores(query_values, query_offsets, to_device(values), to_device(offsets))
    expected = maxsim.maxsim_scores(query_values, query_offsets, values, offsets)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.cpu(), expected, 0, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("dim", SLOW_IN_PART)
def test_few_query_tokens(dim: int, dtype: str) -> None:
    assert_scores([31, 1, 0], LENGTHS, dim, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("dim", SLOW_IN_PART)
def test_many_query_tokens(dim: int, dtype: str) -> None:
    assert_scores([32, 7, 0, 33, 40], LENGTHS, dim, dtype)


@pytest.mark.parametrize(
    "queries", [[70, 3], *(pytest.param(one, marks=pytest.mark.slow) for one in ([127], [65] * 3))]
)
def test_queries_of_several_blocks(queries: list[int]) -> None:
    assert_scores(queries, LENGTHS, 64, "float32")


def test_a_padded_query_token_does_not_score_when_all_similarities_are_negative() -> None:
    values = np.full((40, 64), -0.125, np.float32)
    query = np.full((3, 64), 0.125, np.float32)
    found = exact.maxsim_scores(
        query, offsets_of([3]), to_device(values), to_device(offsets_of([39, 1]))
    )
    np.testing.assert_allclose(found.cpu(), [[-3.0, -3.0]], 0, 1e-6)


@pytest.mark.parametrize(
    ("queries", "documents"), [([], [3]), ([2], []), ([2], [0, 0]), ([0], [5])]
)
def test_nothing_to_score(queries: list[int], documents: list[int]) -> None:
    assert_scores(queries, documents, 48, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_listed_documents(dtype: str) -> None:
    rng = np.random.default_rng(1)
    queries = padded(rng, [5, 0, 127], 128, 48)
    values, offsets = unit(rng, sum(LENGTHS), 48).astype(dtype), offsets_of(LENGTHS)
    for docs in (np.array([3, 0, 3, 6], np.int32), rng.integers(0, 7, (3, 5)).astype(np.int32)):
        found = exact.score_documents(
            to_device(queries), to_device(docs), to_device(values), to_device(offsets)
        )
        expected = reference_cuda.score_documents(queries, docs, values, offsets)
        np.testing.assert_allclose(found.cpu(), expected, 0, 4e-5)


@pytest.mark.parametrize("dim", [48, pytest.param(128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("queries", [[20, 3], [32] * 5])
def test_int8_documents(dim: int, queries: list[int]) -> None:
    rng = np.random.default_rng(2)
    query_values, query_offsets = unit(rng, sum(queries), dim), offsets_of(queries)
    values = rng.integers(-127, 128, (sum(LENGTHS), dim)).astype(np.int8)
    scales = rng.uniform(0.5, 1, len(values)).astype(np.float32) / np.float32(73 * np.sqrt(dim))
    offsets = offsets_of(LENGTHS)
    scores = exact.score_documents(
        to_device(pad_queries(query_values, query_offsets)).half(),
        None,
        to_device(values),
        to_device(offsets),
        doc_scales=to_device(scales),
    )
    decoded = values.astype(np.float32) * scales[:, None]
    expected = maxsim.maxsim_scores(query_values, query_offsets, decoded, offsets)
    np.testing.assert_allclose(scores.cpu(), expected, 0, TOLERANCE["float16"])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tokens_are_rounded_as_the_cpu_rounds_them(dtype: str) -> None:
    values = np.random.default_rng(4).normal(size=(70, 48)).astype(dtype)
    values[3] = 0
    with DividesAsGpus():
        found = [one.cpu().numpy() for one in exact.quantize_tokens(to_device(values))]
        by_reciprocal = (torch.from_numpy(found[1]) * 127) / 127
    for one, expected in zip(found, reference_cuda.quantize_tokens(values), strict=True):
        np.testing.assert_array_equal(one, expected)
    kept = Int8Documents(values, offsets_of([70]))
    np.testing.assert_array_equal(found[0], kept.rounded)
    np.testing.assert_array_equal(found[1], kept.scales)
    assert not np.array_equal(found[1], by_reciprocal)  # the last bit is seen


@pytest.mark.skipif(DEVICE.type != "cuda", reason="the interpreter has no bfloat16")
def test_bfloat16_documents() -> None:
    rng = np.random.default_rng(3)
    query_values, query_offsets = unit(rng, 40, 128), offsets_of([32, 8])
    values = to_device(unit(rng, sum(LENGTHS), 128)).bfloat16()
    offsets = offsets_of(LENGTHS)
    found = exact.maxsim_scores(query_values, query_offsets, values, to_device(offsets))
    inputs = (values.float().cpu().numpy(), offsets)
    expected = maxsim.maxsim_scores(query_values, query_offsets, *inputs)
    np.testing.assert_allclose(found.cpu(), expected, 0, 3e-2)
