"""What encodes an index on a GPU; names, arguments and bytes are those of the reference.

Arrays are tensors on the GPU. Nothing here waits for the GPU.
"""

from __future__ import annotations

import torch

from colmodern.kernels.cuda.launches import launch_of
from colmodern.kernels.cuda.runtime import power_of_two


def encode_by_weights(
    values: torch.Tensor,
    cutoffs: torch.Tensor,
    levels: torch.Tensor,
    scales: torch.Tensor,
    tries: torch.Tensor,
    gain_step: float,
    gains: torch.Tensor,
    residuals: torch.Tensor,
) -> None:
    """Encode vectors with four bits a dimension and weights that all dimensions share.

    values: (n, dim) float32; cutoffs: (15,), levels: (16,), scales: (dim,), tries: (n_tries,)
    gains: (n,) uint8, written; residuals: (n, dim / 2) uint8, written
    """
    from colmodern.kernels.cuda.programs.encoding import encode_by_weights as program

    n, dim = values.shape
    if n == 0:
        return
    launch = launch_of("encode_by_weights", values.device)
    program[(-(-n // launch.n_tokens),)](
        _columns(values),
        cutoffs,
        levels,
        scales,
        tries,
        _steps(gain_step, launch.n_tokens, values),
        gains,
        residuals,
        n,
        len(tries),
        DIM=dim,
        TOKENS=launch.n_tokens,
        enable_fp_fusion=False,  # each step rounded, as on the CPU
        **launch.options,
    )


def encode_residuals(
    values: torch.Tensor,
    codebook: torch.Tensor,
    half_norms: torch.Tensor,
    gain_step: float,
    gains: torch.Tensor,
    residuals: torch.Tensor,
) -> None:
    """Encode vectors as a length and the nearest entry for each byte.

    values: (n, dim) float32; codebook: (n_bytes, 256, width), half_norms: (n_bytes, 256)
    gains: (n,) uint8, written; residuals: (n, n_bytes) uint8, written
    """
    from colmodern.kernels.cuda.programs.encoding import encode_residuals as program

    n, (n_bytes, _, width) = len(values), codebook.shape
    if n == 0:
        return
    launch = launch_of("encode_residuals", values.device)
    program[(-(-n // launch.n_tokens),)](
        values.T.contiguous(),
        codebook,
        half_norms,
        _steps(gain_step, launch.n_tokens, values),
        gains,
        residuals,
        n,
        BYTES=n_bytes,
        SPAN=width,
        TOKENS=launch.n_tokens,
        BLOCK=launch.block,
        enable_fp_fusion=False,
        **launch.options,
    )


def mean_by_document(values: torch.Tensor, doc_offsets: torch.Tensor, means: torch.Tensor) -> None:
    """Write the mean of each document's tokens; zero for a document without tokens.

    values: (n_tokens, dim) float32; doc_offsets: (n_docs + 1,) int64; means: (n_docs, dim)
    """
    from colmodern.kernels.cuda.programs.encoding import mean_by_document as program

    n_docs, dim = means.shape
    if n_docs == 0:
        return
    launch = launch_of("mean_by_document", values.device)
    program[(n_docs,)](
        values,
        doc_offsets,
        means,
        DIM=dim,
        WIDTH=power_of_two(dim),
        enable_fp_fusion=False,
        **launch.options,
    )


def _columns(values: torch.Tensor) -> torch.Tensor:
    """(dim, n) copy, whose rows a program's lanes read side by side, and overwrite."""
    return values.T.clone(memory_format=torch.contiguous_format)


def _steps(gain_step: float, n: int, like: torch.Tensor) -> torch.Tensor:
    # a scalar argument would be divided by as a product with its reciprocal
    return torch.full((n,), float(gain_step), dtype=torch.float32, device=like.device)
