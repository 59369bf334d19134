"""What lies between the products of an encoder, on a GPU; names and results of the reference.

Rows are float32, float16 or bfloat16 and are computed in float32. Nothing here waits for the GPU.
"""

from __future__ import annotations

import torch

from colmodern.kernels.cuda.launches import launch_of
from colmodern.kernels.cuda.runtime import power_of_two


def add_norm(
    sums: torch.Tensor,
    addend: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out: torch.Tensor,
) -> None:
    """Add rows to the sum over layers, in place, and write the result's layer norm to ``out``.

    sums: (n, dim) float32; addend: (n, dim); weight, bias: (dim,) float32
    out: (n, dim), which may be ``addend``
    """
    from colmodern.kernels.cuda.programs.encoder import add_norm as program

    n, dim = sums.shape
    if n == 0:
        return
    _expect_contiguous(sums, addend, out)
    launch = launch_of("add_norm", sums.device)
    program[(-(-n // launch.n_tokens),)](
        sums,
        addend if addend is not None else sums,
        weight,
        bias if bias is not None else weight,
        out,
        eps,
        n,
        DIM=dim,
        WIDTH=power_of_two(dim),
        ROWS=launch.n_tokens,
        ADDED=addend is not None,
        BIASED=bias is not None,
        **launch.options,
    )


def gelu_gate(hidden: torch.Tensor, out: torch.Tensor) -> None:
    """The exact gelu of each row's first half times its second half.

    hidden: (n, 2 * dim); out: (n, dim), written
    """
    from colmodern.kernels.cuda.programs.encoder import gelu_gate as program

    n, dim = out.shape
    if n == 0:
        return
    _expect_contiguous(hidden, out)
    launch = launch_of("gelu_gate", hidden.device)
    program[(-(-n // launch.n_tokens), -(-dim // launch.block))](
        hidden, out, n, DIM=dim, ROWS=launch.n_tokens, BLOCK=launch.block, **launch.options
    )


def rotate(
    qkv: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, positions: torch.Tensor
) -> None:
    """Turn pairs of dimensions of queries and keys by the angles of their positions, in place.

    qkv: (n, 3, n_heads, head_dim), pairs side by side; head_dim is a power of two
    cosines, sines: (n_positions, head_dim / 2) float32; positions: (n,) int32
    """
    from colmodern.kernels.cuda.programs.encoder import rotate as program

    n, _, n_heads, head_dim = qkv.shape
    if n == 0:
        return
    _expect_contiguous(qkv, cosines, sines)
    launch = launch_of("rotate", qkv.device)
    program[(-(-n // launch.n_tokens), -(-2 * n_heads // launch.block))](
        qkv,
        cosines,
        sines,
        positions,
        n,
        HEADS=2 * n_heads,
        PAIRS=head_dim // 2,
        ROWS=launch.n_tokens,
        BLOCK=launch.block,
        **launch.options,
    )


def _expect_contiguous(*tensors: torch.Tensor | None) -> None:
    # programs compute addresses from shapes alone
    assert all(tensor is None or tensor.is_contiguous() for tensor in tensors)
