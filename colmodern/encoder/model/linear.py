"""Linear layers fused with the operation after them, in one pass where oneDNN can."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F


class Linear(Protocol):
    """x @ weight.T + bias for contiguous (n, in) x."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The (n, out) output."""

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """The exact gelu of the output."""

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output times (n, out) ``other``, which may be overwritten."""

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output plus (n, out) float32 ``other``, in float32; it may be overwritten."""


class TorchLinear:
    """A linear layer on any device, in any dtype."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The (n, out) output."""
        return F.linear(x, self._weight, self._bias)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """The exact gelu of the output."""
        return F.gelu(self(x))

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output times ``other``."""
        return other.mul_(self(x))

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output plus ``other``."""
        return other.add_(self(x))


class OneDnnLinear:
    """A linear layer on a CPU: weights in oneDNN's layout, the second operation in the same pass.

    In float32 its products are faster than those of the MKL that torch takes by itself, on AMD
    above all. torch.compile emits the same operators.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        self._bias = bias
        self._run = torch.ops.mkldnn._linear_pointwise

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The (n, out) output."""
        output: torch.Tensor = self._run(x, self._weight, self._bias, "none", [], "")
        return output

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """The exact gelu of the output."""
        output: torch.Tensor = self._run(x, self._weight, self._bias, "gelu", [], "none")
        return output

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output times ``other``."""
        output: torch.Tensor = self._run.binary(x, other, self._weight, self._bias, "mul")
        return output

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output plus ``other``."""
        if x.dtype != other.dtype:
            return other.add_(self(x))
        output: torch.Tensor = self._run.binary(x, other, self._weight, self._bias, "add")
        return output


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    """The fastest linear layer for (out, in) weights on their device."""
    return (OneDnnLinear if has_onednn(weight) else TorchLinear)(weight, bias)


def has_onednn(weight: torch.Tensor) -> bool:
    """Whether this torch has oneDNN's operators for the weight's device and dtype."""
    is_here = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (is_here and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
