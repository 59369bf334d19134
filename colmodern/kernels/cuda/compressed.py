"""Scores of compressed tokens on a GPU; names, arguments and results are those of the reference.

Arrays are tensors on the GPU, queries padded to lanes. Nothing here waits for the GPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from colmodern.kernels.cuda.exact import _FLOAT32
from colmodern.kernels.cuda.lanes import MOST_FLOAT32_LANES, Blocks, blocks_of
from colmodern.kernels.cuda.launches import launch_of, per_program
from colmodern.kernels.cuda.runtime import has_paired_maxima, power_of_two

# document tokens that a program should read, roughly
_SCANNED_TOKENS = 1024
_SCORED_TOKENS = 256


class Codebook(NamedTuple):
    """Directions that a byte names, in float32.

    entries: (n_bytes, 256, span), or (1, 256, span) that all bytes share
    scales: (dim,) that shared entries are multiplied by, or None
    """

    entries: torch.Tensor
    scales: torch.Tensor | None


class Tokens(NamedTuple):
    """Compressed tokens of documents.

    doc_offsets: (n_docs + 1,) int64; codes: (n_tokens,) int32, or int16 with the bits of uint16
    gains: (n_tokens,) uint8; residuals: (n_tokens, n_bytes) uint8, also in pinned memory
    """

    doc_offsets: torch.Tensor
    codes: torch.Tensor
    gains: torch.Tensor
    residuals: torch.Tensor

    @property
    def mask(self) -> int:
        """What a code's bits are once it is an int32."""
        return 0xFFFF if self.codes.dtype == torch.int16 else 0x7FFFFFFF


class Table(NamedTuple):
    """Similarities of centroids to query tokens: lows + steps * values.

    values: (n_centroids, n_queries * n_lanes) uint8; lows, steps: one a column, float32
    """

    values: torch.Tensor
    lows: torch.Tensor
    steps: torch.Tensor


def centroid_table(
    queries: torch.Tensor, centroids: torch.Tensor, centroid_scales: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Similarity of each centroid to each query token.

    queries: (n_queries, n_lanes, dim) float32; centroids: (n_centroids, dim) int8, times scales

    Returns (n_centroids, n_queries * n_lanes) float16, and the least and the largest of each
    column, float32.
    """
    from colmodern.kernels.cuda.programs.compressed import centroid_table as kernel

    blocks, n = blocks_of(len(queries), queries.shape[1]), len(centroids)
    n_columns = blocks.n * blocks.lanes
    launch = launch_of("centroid_table", queries.device)
    n_programs = -(-n // launch.block)
    new = queries.new_empty
    table = new((n, n_columns), dtype=torch.float16)
    maxima, minima = new((n_programs, n_columns)), new((n_programs, n_columns))
    kernel[(n_programs, -(-n_columns // launch.n_tokens))](
        queries.contiguous(),
        centroids,
        centroid_scales,
        table,
        maxima,
        minima,
        n,
        blocks.n,
        DIM=queries.shape[2],
        WIDTH=power_of_two(queries.shape[2], least=16),
        LANES=blocks.lanes,
        COLUMNS=min(launch.n_tokens, power_of_two(n_columns)),
        BLOCK=launch.block,
        **launch.options,
    )
    return table, minima.amin(dim=0), maxima.amax(dim=0)


def table_to_bytes(
    table: torch.Tensor, lows: torch.Tensor, highs: torch.Tensor, n_lanes: int
) -> Table:
    """A table of bytes between each column's least and largest value, a quarter of a byte's cache."""
    from colmodern.kernels.cuda.programs.compressed import table_to_bytes as kernel

    steps = ((highs - lows) * (1 / 255)).clamp_min(1e-30)
    values = torch.empty(table.shape, dtype=torch.uint8, device=table.device)
    launch = launch_of("table_to_bytes", table.device)
    columns = min(launch.n_tokens, power_of_two(table.shape[1]))
    grid = (-(-table.shape[0] // launch.block), -(-table.shape[1] // columns))
    lanes = blocks_of(1, n_lanes).lanes
    kernel[grid](
        table,
        lows,
        steps,
        values,
        table.shape[0],
        table.shape[1] // lanes,
        LANES=lanes,
        COLUMNS=columns,
        BLOCK=launch.block,
        **launch.options,
    )
    return Table(values, lows, steps)


def scan_codes(
    docs: torch.Tensor | None,
    tokens: Tokens,
    table: Table,
    constants: torch.Tensor,
    n_lanes: int,
) -> torch.Tensor:
    """MaxSim with every token replaced by its centroid, plus a constant; 0 without tokens.

    docs: (n,) int32 rows of documents, or None for all; constants: (n_queries,) float32

    Returns (n_queries, n) float32.
    """
    from colmodern.kernels.cuda.programs.compressed import scan_codes as kernel

    n_queries, device = len(constants), table.values.device
    blocks = blocks_of(n_queries, n_lanes)
    n_all = len(tokens.doc_offsets) - 1
    n_docs = n_all if docs is None else len(docs)
    out = torch.empty((blocks.n, n_docs), device=device)
    if out.numel() == 0:
        return blocks.join(out)
    launch = launch_of("scan_codes", device)
    tile = blocks.tile(launch.n_tokens)
    n_tiles = -(-blocks.n // tile)
    each = per_program(n_docs, len(tokens.codes) / n_all, n_tiles, _SCANNED_TOKENS, device)
    kernel[(n_tiles * -(-n_docs // each),)](
        docs if docs is not None else tokens.doc_offsets,
        tokens.doc_offsets,
        tokens.codes,
        table.values.view(torch.int32),
        table.lows,
        table.steps,
        blocks.spread(constants),
        out,
        n_docs,
        blocks.n,
        each,
        n_tiles,
        LANES=blocks.lanes,
        QUERIES=tile,
        BLOCK=launch.block,
        LISTED=docs is not None,
        MASK=tokens.mask,
        PAIRED=has_paired_maxima(device),
        **launch.options,
    )
    return blocks.join(out)


def score_tokens(
    queries: torch.Tensor,
    docs: torch.Tensor | None,
    tokens: Tokens,
    table: torch.Tensor,
    codebook: Codebook,
    gain_step: torch.Tensor,
    constants: torch.Tensor,
) -> torch.Tensor:
    """MaxSim with decoded tokens: centroids from the table, residuals in float16, plus a constant.

    queries: (n_queries, n_lanes, dim) float32; table: as centroid_table returns it
    docs: None: all; (n,) int32 rows of documents for all queries; (n_queries, n) for each its own
    codebook: entries in float16; gain_step: (1,) float32

    Returns (n_queries, n) float32.
    """
    from colmodern.kernels.cuda.programs.compressed import score_tokens as kernel

    if codebook.scales is not None:
        queries = queries * codebook.scales
    blocks = blocks_of(len(queries), queries.shape[1])
    arguments = (table, codebook.entries, blocks.spread(constants), gain_step)
    is_shared = docs is None or docs.dim() == 1
    name = "score_tokens_shared" if is_shared else "score_tokens"
    return _score(kernel, name, blocks, queries.half(), docs, tokens, arguments, codebook)


def score_decoded(
    queries: torch.Tensor,
    docs: torch.Tensor | None,
    tokens: Tokens,
    centroids: torch.Tensor,
    centroid_scales: torch.Tensor,
    codebook: Codebook,
    gain_step: torch.Tensor,
    constants: torch.Tensor,
) -> torch.Tensor:
    """As score_tokens in float32, and with the centroids themselves; codebook entries in float32."""
    from colmodern.kernels.cuda.programs.compressed import score_decoded as kernel

    blocks = blocks_of(len(queries), queries.shape[1], MOST_FLOAT32_LANES)
    scales = codebook.scales if codebook.scales is not None else gain_step
    arguments = (
        centroids, centroid_scales, codebook.entries, scales, blocks.spread(constants), gain_step,
    )  # fmt: skip
    width = tokens.residuals.shape[1] * codebook.entries.shape[2]
    return _score(
        kernel,
        "score_decoded",
        blocks,
        queries,
        docs,
        tokens,
        arguments,
        codebook,
        PRECISION=_FLOAT32,
        PARTS=4 if width > 64 else 1,  # the matrix unit takes no fewer than 16 dimensions
    )


def _score(
    kernel: Any,
    name: str,
    blocks: Blocks,
    queries: torch.Tensor,
    docs: torch.Tensor | None,
    tokens: Tokens,
    arguments: tuple[torch.Tensor, ...],
    codebook: Codebook,
    **constexprs: object,
) -> torch.Tensor:
    """What both scores of tokens have in common; arguments: between the tokens and ``out``."""
    device = queries.device
    listed = 0 if docs is None else docs.dim()
    n_all = len(tokens.doc_offsets) - 1
    n_docs = n_all if docs is None else docs.shape[-1]
    out = torch.empty((blocks.n, n_docs), device=device)
    if out.numel() == 0:
        return blocks.join(out)
    launch = launch_of(name, device)
    tile = 1 if listed == 2 else blocks.tile(launch.n_tokens)
    n_tiles = -(-blocks.n // tile)
    each = per_program(n_docs, len(tokens.codes) / n_all, n_tiles, _SCORED_TOKENS, device)
    n_bytes = tokens.residuals.shape[1]
    span = codebook.entries.shape[2]
    kernel[(n_tiles * -(-n_docs // each),)](
        queries.contiguous(),
        docs if docs is not None else tokens.doc_offsets,
        tokens.doc_offsets,
        tokens.codes,
        tokens.gains,
        tokens.residuals,
        *arguments,
        out,
        n_docs,
        blocks.n,
        blocks.each,
        each,
        n_tiles,
        DIM=queries.shape[2],
        LANES=blocks.lanes,
        QUERIES=tile,
        BLOCK=launch.block,
        LISTED=listed,
        MASK=tokens.mask,
        BYTES=n_bytes,
        PADDED=power_of_two(n_bytes, least=max(1, 16 // span)),
        SPAN=span,
        SHARED=codebook.scales is not None,
        **constexprs,
        **launch.options,
    )
    return blocks.join(out)
