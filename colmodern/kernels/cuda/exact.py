"""Exact MaxSim on a GPU; names, arguments and results are those of the reference.

Arrays are tensors on the GPU. Nothing here waits for the GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from colmodern.kernels.cuda.lanes import (
    MOST_FLOAT32_LANES,
    MOST_LANES,
    blocks_of,
    pad_queries,
)
from colmodern.kernels.cuda.launches import launch_of, per_program
from colmodern.kernels.cuda.runtime import power_of_two
from colmodern.kernels.types import Int64s, Values

# document tokens that a program should read, roughly: more where it loads more queries first
_TOKENS_OF_FEW, _TOKENS_OF_MANY = 256, 1024
_FLOAT32 = "tf32x3"  # three products of 19 bits: as exact as float32, on the matrix unit
_MANY_ROWS = 128  # with so many query tokens, they are the rows of the matrix unit


def maxsim_scores(
    query_values: Values,
    query_offsets: Int64s,
    doc_values: torch.Tensor,
    doc_offsets: torch.Tensor,
) -> torch.Tensor:
    """MaxSim of every query with every document, (n_queries, n_docs) float32 on the GPU.

    query_values, query_offsets: on the host, where their lengths are needed
    doc_values: (n_tokens, dim) float32, float16 or bfloat16, in whose dtype products are made
    """
    queries = _on_device(query_values, query_offsets, doc_values)
    return score_documents(queries.to(doc_values.dtype), None, doc_values, doc_offsets)


def quantize_tokens(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens rounded to int8.

    Args:
        values: (n_tokens, dim) floats.

    Returns:
        (n_tokens, dim) int8 and (n_tokens,) float32 scales; a row times its scale is the token.
    """
    floats = values.float()
    largest = floats.abs().amax(dim=1).clamp_min(1e-30)
    # a tensor: torch divides by a number on GPUs by multiplying with its rounded reciprocal
    steps = torch.full_like(largest, 127.0)
    by = steps / largest
    return torch.round(floats * by[:, None]).to(torch.int8), largest / steps


def score_documents(
    queries: torch.Tensor,
    docs: torch.Tensor | None,
    doc_values: torch.Tensor,
    doc_offsets: torch.Tensor,
    *,
    doc_scales: torch.Tensor | None = None,
) -> torch.Tensor:
    """MaxSim of padded queries with all documents, some, or each query's own.

    queries: (n_queries, n_lanes, dim) in the dtype that products are made in; float32 is exact
    docs: None: all; (n,) int32 rows of documents for all queries; (n_queries, n) for each its own

    Returns (n_queries, n) float32.
    """
    is_float32 = queries.dtype == torch.float32
    most = MOST_FLOAT32_LANES if is_float32 else MOST_LANES
    blocks = blocks_of(len(queries), queries.shape[1], most)
    listed = 0 if docs is None else docs.dim()
    n_docs = len(doc_offsets) - 1 if docs is None else docs.shape[-1]
    out = torch.empty((blocks.n, n_docs), device=queries.device)
    if out.numel() == 0 or len(doc_values) == 0:
        return blocks.join(out.zero_())
    is_many = listed < 2 and blocks.n * blocks.lanes >= _MANY_ROWS
    name = "maxsim_many" if is_many else "maxsim_few"
    kernel = _kernel(name)
    name += "_float32" if is_float32 else ""
    launch = launch_of(name, queries.device)
    tile = 1 if listed == 2 else blocks.tile(launch.n_tokens)
    n_tiles = -(-blocks.n // tile)
    mean = len(doc_values) / (len(doc_offsets) - 1)
    tokens = _TOKENS_OF_MANY if is_many else _TOKENS_OF_FEW
    each = per_program(n_docs, mean, n_tiles, tokens, queries.device)
    kernel[(n_tiles * -(-n_docs // each),)](
        queries.contiguous(),
        docs if docs is not None else doc_offsets,
        doc_values,
        doc_scales if doc_scales is not None else doc_offsets,
        doc_offsets,
        out,
        n_docs,
        blocks.n,
        blocks.each,
        each,
        n_tiles,
        DIM=queries.shape[2],
        WIDTH=power_of_two(queries.shape[2], least=16),
        LANES=blocks.lanes,
        QUERIES=tile,
        BLOCK=launch.block,
        LISTED=listed,
        SCALED=doc_scales is not None,
        PRECISION=_FLOAT32,
        **launch.options,
    )
    return blocks.join(out)


def _on_device(values: Values, offsets: Int64s, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(pad_queries(np.asarray(values), np.asarray(offsets))).to(like.device)


def _kernel(name: str) -> Any:
    from colmodern.kernels.cuda.programs import maxsim

    return getattr(maxsim, name)
