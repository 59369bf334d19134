from __future__ import annotations

import numpy as np
import pytest
from kernels.cuda.device_inputs import (
    LENGTHS,
    SLOW_IN_PART,
    codebook_on_device,
    compressed_inputs,
    padded,
    to_device,
    tokens_on_device,
)

from colmodern.kernels.cuda import compressed
from colmodern.kernels.reference import cuda as reference_cuda

ROUNDED = 5e-3  # of float16 products and tables, for up to 128 query tokens of length 1
DOCS = {
    "all": None,
    "some": np.array([6, 0, 1, 4], np.int32),
    "own": np.array([[5, 0, 2], [1, 6, 6], [0, 3, 4]], np.int32),
}


@pytest.mark.parametrize("dim", SLOW_IN_PART)
@pytest.mark.parametrize("n_lanes", [16, 128])
def test_table_and_its_bytes(dim: int, n_lanes: int) -> None:
    rng = np.random.default_rng(dim)
    inputs = compressed_inputs(dim, 4, dim, is_shared=False, n_centroids=131)
    given = (
        padded(rng, [n_lanes, 3, 0], n_lanes, dim),
        inputs["centroids"],
        inputs["centroid_scales"],
    )
    found = compressed.centroid_table(*map(to_device, given))
    expected = reference_cuda.centroid_table(*given)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.cpu(), other, 0, 1e-3)
    # the same table for both: a value between two bytes may go to either by its last digit
    found = compressed.table_to_bytes(*map(to_device, expected), n_lanes)
    expected = reference_cuda.table_to_bytes(*expected, n_lanes)
    difference = np.abs(found.values.cpu().numpy().astype(int) - expected.values)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
@pytest.mark.parametrize("docs", ["all", pytest.param("some", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("lengths", "n_lanes"), [([5], 16), ([32, 0, 9], 32), ([100, 128], 128)])
def test_scan(dtype: str, docs: str, lengths: list[int], n_lanes: int) -> None:
    rng = np.random.default_rng(len(lengths))
    inputs = compressed_inputs(48, 4, 3, is_shared=False, dtype=dtype)
    columns = len(lengths) * n_lanes
    table = reference_cuda.Table(
        rng.integers(0, 256, (70, columns)).astype(np.uint8),
        rng.uniform(-1, 0, columns).astype(np.float32),
        rng.uniform(0, 0.01, columns).astype(np.float32),
    )
    constants = rng.normal(size=len(lengths)).astype(np.float32)
    on_gpu = compressed.Table(*map(to_device, table))
    found = compressed.scan_codes(
        to_device(DOCS[docs]),
        tokens_on_device(inputs["tokens"]),
        on_gpu,
        to_device(constants),
        n_lanes,
    )
    expected = reference_cuda.scan_codes(DOCS[docs], inputs["tokens"], table, constants, n_lanes)
    np.testing.assert_allclose(found.cpu(), expected, 0, 1e-4)


def test_scan_of_uint16_codes_above_32767() -> None:
    inputs = compressed_inputs(48, 4, 3, is_shared=False, n_centroids=40_000, dtype="uint16")
    table = reference_cuda.Table(
        np.random.default_rng(0).integers(0, 256, (40_000, 16)).astype(np.uint8),
        np.zeros(16, np.float32),
        np.ones(16, np.float32),
    )
    given = (np.zeros(1, np.float32),)
    found = compressed.scan_codes(
        None,
        tokens_on_device(inputs["tokens"]),
        compressed.Table(*map(to_device, table)),
        to_device(*given),
        16,
    )
    expected = reference_cuda.scan_codes(None, inputs["tokens"], table, *given, 16)
    np.testing.assert_array_equal(found.cpu(), expected)


@pytest.mark.parametrize(
    ("dim", "nbits", "is_shared", "docs"),
    [
        (48, 4, True, "own"),
        (96, 4, True, "some"),
        (48, 2, False, "all"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (64, 4, True, "all"),
                (128, 4, True, "own"),
                (96, 1, False, "own"),
                (128, 2, False, "own"),
                (64, 8, False, "some"),
                (128, 4, False, "all"),
            )
        ),
    ],
)
@pytest.mark.parametrize(("lengths", "n_lanes"), [([31, 1, 0], 32), ([127, 9, 70], 128)])
def test_compressed_tokens(
    dim: int, nbits: int, is_shared: bool, docs: str, lengths: list[int], n_lanes: int
) -> None:
    rng = np.random.default_rng(nbits)
    inputs = compressed_inputs(dim, nbits, dim + nbits, is_shared=is_shared)
    queries, constants = padded(rng, lengths, n_lanes, dim), rng.normal(size=3).astype(np.float32)
    centroids = (inputs["centroids"], inputs["centroid_scales"])
    table = reference_cuda.centroid_table(queries, *centroids)[0]
    tokens, docs_given = inputs["tokens"], DOCS[docs]
    common = (to_device(queries), to_device(docs_given), tokens_on_device(tokens))
    rest = (to_device(inputs["gain_step"]), to_device(constants))
    found = compressed.score_tokens(
        *common, to_device(table), codebook_on_device(inputs["codebook"], is_half=True), *rest
    )
    others = (inputs["codebook"], inputs["gain_step"], constants)
    expected = reference_cuda.score_tokens(queries, docs_given, tokens, table, *others)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.cpu(), expected, 0, ROUNDED)

    if n_lanes == 32:
        found = compressed.score_decoded(
            *common,
            *map(to_device, centroids),
            codebook_on_device(inputs["codebook"], is_half=False),
            *rest,
        )
        expected = reference_cuda.score_decoded(queries, docs_given, tokens, *centroids, *others)
        np.testing.assert_allclose(found.cpu(), expected, 0, 2e-5)


def test_no_documents() -> None:
    inputs = compressed_inputs(48, 4, 0, is_shared=True)
    none = np.empty(0, np.int32)
    queries, constants = (
        to_device(np.zeros((2, 16, 48), np.float32)),
        to_device(np.zeros(2, np.float32)),
    )
    found = compressed.score_tokens(
        queries,
        to_device(none),
        tokens_on_device(inputs["tokens"]),
        to_device(np.zeros((70, 32), np.float16)),
        codebook_on_device(inputs["codebook"], is_half=True),
        to_device(inputs["gain_step"]),
        constants,
    )
    assert found.shape == (2, 0)
    assert LENGTHS[0] == 0  # and the other tests have a document without tokens
