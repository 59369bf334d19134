from __future__ import annotations

import numpy as np
import pytest
from kernels.kernel_inputs import (
    DIMS,
    assert_equal,
    fast,
    run,
    slow,
    table_inputs,
)

from colmodern.kernels.cpu.ir.vectors import lanes_of, masks_of
from colmodern.kernels.cpu.residual_query import make_weight_query


@pytest.mark.parametrize("n_query_tokens", [3, 32])
@pytest.mark.parametrize("is_filled", [False, True])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", DIMS)
def test_fill_tables(dim: int, nbits: int, is_filled: bool, n_query_tokens: int) -> None:
    inputs = table_inputs(dim, nbits, dim, is_filled=is_filled, n_query_tokens=n_query_tokens)
    assert_equal("fill_tables", inputs)


@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("width", [1, 4, 8])
def test_fill_doc_tables(width: int, scale: int) -> None:
    rng, n_bytes = np.random.default_rng(width), 12
    inputs = {
        "codebook": rng.normal(size=(n_bytes, width, 256)).astype(np.float32) * scale,
        "summed": rng.normal(size=n_bytes * width).astype(np.float32),
        "products": np.full((n_bytes, 256), 9, np.float32),
        "table": np.full((n_bytes, 256), 9, np.int16),
    }
    expected, found = run(slow("fill_doc_tables"), inputs), run(fast("fill_doc_tables"), inputs)
    np.testing.assert_allclose(found["products"], expected["products"], 1e-5, 1e-5)
    np.testing.assert_allclose(found["table"], expected["table"], atol=1)
    assert found["returned"] == pytest.approx(float(expected["returned"]))
    step = np.float32(found["returned"])
    np.testing.assert_allclose(found["table"] * step, found["products"], atol=0.51 * step)


@pytest.mark.parametrize("n_bytes", [0, 1, 3, 4, 32, 96])
@pytest.mark.parametrize("largest", [0, 2, 32_767])
def test_choose_doc_parts(largest: int, n_bytes: int) -> None:
    rng = np.random.default_rng(n_bytes)
    inputs = {"table": rng.integers(-largest, largest + 1, (n_bytes, 256)).astype(np.int16)}
    assert_equal("choose_doc_parts", inputs)


@pytest.mark.parametrize("n_query_tokens", [3, 40])
@pytest.mark.parametrize("dim", DIMS)
def test_weight_query_is_the_query_rounded(dim: int, n_query_tokens: int) -> None:
    rng, masks = np.random.default_rng(dim), masks_of(n_query_tokens)
    by_lane = rng.normal(size=(len(masks), lanes_of(masks), dim)).astype(np.float32)
    levels = np.arange(-128, 128, 16).astype(np.int8)
    scales = rng.uniform(0.5, 1, dim).astype(np.float32)
    padded = by_lane.reshape(-1, dim)
    query, step = make_weight_query(padded, lanes_of(masks), levels, scales, 0.4)
    np.testing.assert_allclose(query.factors, np.arange(256) * 0.4 * step, 1e-5)
    # of each eight dimensions first 0, 2, 4, 6
    order = np.arange(dim).reshape(-1, 4, 2).transpose(0, 2, 1).ravel()
    rows = query.dims.transpose(0, 2, 1, 3).reshape(len(masks), -1, dim)
    np.testing.assert_allclose(rows * step, (by_lane * scales)[..., order], atol=0.51 * step)
    np.testing.assert_array_equal(query.starts, -128 * rows.sum(axis=2, dtype=np.int64))
    np.testing.assert_array_equal(query.weights, levels.astype(int) + 128)
    assert np.abs(rows).max() == 127
