from __future__ import annotations

import pytest
import torch

from colmodern.encoder.model.linear import OneDnnLinear, TorchLinear, has_onednn, make_linear

# bf16 rounds the output, and oneDNN the second operation only
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("n_rows", [1, 7, 100])
def test_onednn_equals_torch(dtype: torch.dtype, has_bias: bool, n_rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(24, 40, generator=generator) / 40**0.5).to(dtype)
    if not has_onednn(weight):
        pytest.skip("this machine's torch has no oneDNN for this dtype")
    bias = torch.randn(24, generator=generator).to(dtype) if has_bias else None
    x = torch.randn(n_rows, 40, generator=generator).to(dtype)
    other = torch.randn(n_rows, 24, generator=generator).to(dtype)
    fast, plain = OneDnnLinear(weight, bias), TorchLinear(weight, bias)
    options = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(fast(x), plain(x), **options)
    torch.testing.assert_close(fast.gelu(x), plain.gelu(x), **options)
    torch.testing.assert_close(fast.times(x, other), plain.times(x, other.clone()), **options)
    total = torch.randn(n_rows, 24, generator=generator)
    expected = total + plain(x)
    for linear in (fast, plain):
        found = linear.plus(x, total.clone())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, **options)


def test_a_dtype_that_onednn_does_not_take_runs_in_torch() -> None:
    weight = torch.eye(3, dtype=torch.float16)
    linear = make_linear(weight, None)
    assert isinstance(linear, TorchLinear)
    x = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float16)
    assert torch.equal(linear(x), x)
    assert torch.equal(linear.times(x, x.clone()), x * x)
