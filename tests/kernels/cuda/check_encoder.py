from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from kernels.cuda.device_inputs import DEVICE, to_device

from colmodern.kernels.cuda import encoder
from colmodern.kernels.reference import encoder as reference_encoder

# of values about 1: float32 sums in another order, and one rounding to each shorter dtype
TOLERANCE = {torch.float32: 5e-6, torch.float16: 6e-4, torch.bfloat16: 4.2e-3}
DTYPES = {"argvalues": list(TOLERANCE), "ids": lambda dtype: str(dtype).removeprefix("torch.")}

AT_MORE = pytest.param(70, 768, marks=pytest.mark.slow)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Random numbers that the dtype holds exactly: float32 for the reference, and on the device."""
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    rounded = to_device(values).to(dtype)
    return rounded.float().cpu().numpy().copy(), rounded


def assert_equal(found: torch.Tensor, expected: np.ndarray, dtype: torch.dtype) -> None:
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(found.float().cpu().numpy(), expected, tolerance, tolerance)


@pytest.mark.parametrize("dtype", **DTYPES)
@pytest.mark.parametrize(("n", "dim"), [(0, 96), (1, 1), (3, 96), (7, 123), (18, 256), AT_MORE])
@pytest.mark.parametrize("is_added", [True, False])
@pytest.mark.parametrize("is_biased", [True, False])
def test_sums_and_their_norms(
    n: int, dim: int, is_added: bool, is_biased: bool, dtype: torch.dtype
) -> None:
    sums, own_sums = drawn(n, dim)
    addend, own_addend = drawn(n, dim, seed=1, dtype=dtype) if is_added else (None, None)
    weight, own_weight = drawn(dim, seed=2)
    bias, own_bias = drawn(dim, seed=3) if is_biased else (None, None)
    expected = np.full((n, dim), np.nan, np.float32)
    reference_encoder.add_norm(sums, addend, weight, bias, 1e-5, expected)
    out = own_addend if is_added else torch.full((n, dim), torch.nan, dtype=dtype, device=DEVICE)
    encoder.add_norm(own_sums, own_addend, own_weight, own_bias, 1e-5, out)
    np.testing.assert_array_equal(own_sums.cpu().numpy(), sums)
    assert_equal(out, expected, dtype)


def test_a_norm_of_equal_values_is_finite() -> None:
    sums = torch.full((5, 48), 3.0, device=DEVICE)
    out = torch.full_like(sums, torch.nan)
    encoder.add_norm(sums, None, torch.ones(48, device=DEVICE), None, 1e-5, out)
    last_bit = 3 * 2**-23  # of the mean: GPUs multiply by 1 / 48, which float32 does not hold
    assert out.abs().max() <= last_bit / 1e-5**0.5


@pytest.mark.parametrize("dtype", **DTYPES)
@pytest.mark.parametrize(("n", "dim"), [(0, 48), (1, 1), (3, 48), (17, 129), (33, 384), AT_MORE])
def test_gated_gelu(n: int, dim: int, dtype: torch.dtype) -> None:
    hidden, own_hidden = drawn(n, 2 * dim, dtype=dtype)
    if n:
        hidden[0, 0] = 40.0  # erf is 1 there, and -1 on the other side
        hidden[-1, dim - 1] = -40.0
        own_hidden.copy_(to_device(hidden))
    expected = np.full((n, dim), np.nan, np.float32)
    reference_encoder.gelu_gate(hidden, expected)
    out = torch.full((n, dim), torch.nan, dtype=dtype, device=DEVICE)
    encoder.gelu_gate(own_hidden, out)
    assert_equal(out, expected, dtype)


@pytest.mark.parametrize("dtype", **DTYPES)
@pytest.mark.parametrize(
    ("n", "n_heads", "head_dim"), [(0, 2, 8), (1, 1, 2), (5, 3, 16), (9, 12, 64)]
)
def test_turned_queries_and_keys(n: int, n_heads: int, head_dim: int, dtype: torch.dtype) -> None:
    qkv, own_qkv = drawn(n, 3, n_heads, head_dim, dtype=dtype)
    angles = np.random.default_rng(1).uniform(0, 100, (70, head_dim // 2))
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    positions = np.random.default_rng(2).integers(0, 70, n).astype(np.int32)
    values = qkv[:, 2].copy()
    reference_encoder.rotate(qkv, cosines, sines, positions)
    encoder.rotate(own_qkv, *map(to_device, (cosines, sines, positions)))
    assert_equal(own_qkv[:, :2], qkv[:, :2], dtype)
    np.testing.assert_array_equal(own_qkv[:, 2].float().cpu().numpy(), values)


@pytest.mark.parametrize("name", ["add_norm", "gelu_gate", "rotate"])
def test_every_launch_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = {
        "add_norm": lambda: test_sums_and_their_norms(7, 123, True, True, torch.float32),
        "gelu_gate": lambda: test_gated_gelu(17, 129, torch.float32),
        "rotate": lambda: test_turned_queries_and_keys(5, 3, 16, torch.float32),
    }
    from colmodern.kernels.cuda.launches import LAUNCHES

    for launch in LAUNCHES[name]:
        monkeypatch.setattr(encoder, "launch_of", lambda name, device, launch=launch: launch)
        tests[name]()
