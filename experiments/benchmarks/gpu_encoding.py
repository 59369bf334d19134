"""Kernels of an encoder and of the encoding of an index, as gpu_kernels.py measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from gpu_work import DIM, Sizes, Work

from colmodern.kernels.cuda.encoder import add_norm, gelu_gate, rotate
from colmodern.kernels.cuda.encoding import encode_by_weights, encode_residuals
from colmodern.kernels.reference import encoding as reference_encoding

_HIDDEN, _BETWEEN, _HEADS, _HEAD_DIM = 768, 1152, 12, 64  # of ModernBERT-base
_CHECKED = 200  # vectors whose bytes are compared: the reference takes its time
_TRIES = np.array([0.76, 0.82, 0.88, 0.94, 1, 1.07, 1.14, 1.22, 1.3], np.float32)


def row_works(device: torch.device, sizes: Sizes) -> Iterator[Work]:
    """What lies between the products of an encoder, beside torch's own functions in bfloat16."""
    n, dtype = sizes.rows, torch.bfloat16
    sums = torch.randn((n, _HIDDEN), device=device)
    addend = torch.zeros((n, _HIDDEN), device=device, dtype=dtype)  # so that every call is alike
    weight, out = torch.ones(_HIDDEN, device=device), torch.empty_like(addend)

    def norm() -> torch.Tensor:
        add_norm(sums, addend, weight, None, 1e-5, out)
        return out

    def norm_of_torch() -> torch.Tensor:
        return F.layer_norm(sums.add_(addend), (_HIDDEN,), weight, None, 1e-5).to(dtype)

    yield Work(
        "add and norm", f"{n} x {_HIDDEN}, bfloat16", ("add_norm",), norm,
        n_bytes=n * _HIDDEN * (4 + 4 + 2 + 2.0), peers=(("torch", norm_of_torch),),
        tolerance=0.1, truth=lambda: norm_of_torch().float(),
    )  # fmt: skip
    hidden = torch.randn((n, 2 * _BETWEEN), device=device).to(dtype)
    gated = hidden.new_empty((n, _BETWEEN))

    def gate() -> torch.Tensor:
        gelu_gate(hidden, gated)
        return gated

    def gate_of_torch() -> torch.Tensor:
        first, second = hidden.chunk(2, dim=1)
        return F.gelu(first) * second

    yield Work(
        "gated gelu", f"{n} x {_BETWEEN}, bfloat16", ("gelu_gate",), gate,
        n_bytes=n * _BETWEEN * 6.0, peers=(("torch", gate_of_torch),),
        tolerance=0.1, truth=lambda: gate_of_torch().float(),
    )  # fmt: skip
    yield _rotation(n, device)


def _rotation(n: int, device: torch.device) -> Work:
    qkv = torch.randn((n, 3, _HEADS, _HEAD_DIM), device=device).bfloat16()
    angles = torch.rand((512, _HEAD_DIM // 2), device=device) * 6
    positions = (torch.arange(n, device=device) % 512).int()
    cosines, sines = angles.cos(), angles.sin()

    def turn() -> torch.Tensor:
        rotate(qkv, cosines, sines, positions)
        return qkv

    return Work(
        "rotation", f"{n} x {2 * _HEADS} x {_HEAD_DIM}, bfloat16", ("rotate",),
        turn,
        n_bytes=n * 2 * _HEADS * _HEAD_DIM * 4.0,
    )  # fmt: skip


def encoding_works(device: torch.device, sizes: Sizes) -> Iterator[Work]:
    """Residuals to bytes, which must be those of the reference."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(sizes.assigned, DIM)).astype(np.float32)
    levels = np.sort(rng.choice(np.arange(-127, 128), 16, replace=False)).astype(np.float32)
    scales = rng.uniform(1e-3, 2e-3, DIM).astype(np.float32)
    weights = ((levels[1:] + levels[:-1]) / 2, levels, scales, _TRIES)
    yield _encoding(
        "residuals by weights", "encode_by_weights", encode_by_weights, values, weights, 64, device
    )
    codebook = (rng.normal(size=(32, 256, 4)) / np.sqrt(DIM)).astype(np.float32)
    tables = (codebook, (np.square(codebook).sum(axis=2) / 2).astype(np.float32))
    yield _encoding(
        "residuals by products", "encode_residuals", encode_residuals, values, tables, 32, device
    )


def _encoding(
    name: str,
    kernel: str,
    encode: Callable[..., None],
    values: np.ndarray,
    tables: tuple[np.ndarray, ...],
    n_bytes: int,
    device: torch.device,
) -> Work:
    on_device = [torch.from_numpy(array).to(device) for array in (values, *tables)]
    gains = torch.empty(len(values), dtype=torch.uint8, device=device)
    residuals = gains.new_empty((len(values), n_bytes))

    def call() -> torch.Tensor:
        encode(*on_device, 0.2, gains, residuals)
        return torch.cat([gains[:, None], residuals], dim=1)[:_CHECKED].T

    def truth() -> torch.Tensor:
        rows = values[:_CHECKED]
        expected = np.empty(len(rows), np.uint8), np.empty((len(rows), n_bytes), np.uint8)
        reference = getattr(reference_encoding, kernel)
        reference(rows, *tables, np.float32(0.2), *expected)
        return torch.from_numpy(np.column_stack(expected)).to(device).float().T

    return Work(
        name, f"{len(values)} x {DIM}, {n_bytes} bytes", (kernel,), call,
        n_bytes=float(values.nbytes + residuals.nbytes + gains.nbytes), truth=truth, tolerance=0.5,
    )  # fmt: skip
