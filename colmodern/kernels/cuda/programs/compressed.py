"""Compressed tokens in Triton: centroid tables, their scan, and residuals decoded in registers.

As in ``maxsim.py``, the last block of a document reads its last token again, and offsets are
int64. What kernels have in common is written out in each: a call would cost the interpreter of Triton
milliseconds. Document tokens are the rows of the matrix unit: decoded values can go there from registers,
and each thread keeps its own maxima until the document ends.
"""

from __future__ import annotations

import triton
import triton.language as tl

_SIZES = ["n_listed", "n_queries", "n_blocks", "per_program", "n_tiles", "n_centroids"]


@triton.jit(do_not_specialize=_SIZES)
def centroid_table(
    queries,
    centroids,
    centroid_scales,
    table,
    maxima,
    minima,
    n_centroids,
    n_queries,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Similarity of every centroid to every query token, as float16.

    A query is split in two float16 parts, so that only the result is rounded.

    queries: (n_queries, LANES, DIM) float32; centroids: (n_centroids, DIM) int8
    table: (n_centroids, n_queries * LANES) float16, written; maxima, minima: (n_blocks, the same)
    float32, of each block of centroids, written
    """
    n_columns = n_queries * LANES
    numbers = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    ks = tl.arange(0, WIDTH)
    inside = tl.minimum(numbers, n_centroids - 1)
    query_values = tl.load(
        queries + columns[None, :] * DIM + ks[:, None],
        mask=(ks[:, None] < DIM) & (columns[None, :] < n_columns),
        other=0.0,
    )
    high = query_values.to(tl.float16)
    low = (query_values - high.to(tl.float32)).to(tl.float16)
    values = tl.load(
        centroids + inside.to(tl.int64)[:, None] * DIM + ks[None, :],
        mask=ks[None, :] < DIM,
        other=0,
    ).to(tl.float16)
    product = tl.dot(values, low)
    product = tl.dot(values, high, product)
    product *= tl.load(centroid_scales + inside)[:, None]
    is_column = columns < n_columns
    cells = inside.to(tl.int64)[:, None] * n_columns + columns[None, :]
    tl.store(table + cells, product.to(tl.float16), mask=is_column[None, :])
    edge = tl.program_id(0) * n_columns + columns
    tl.store(maxima + edge, tl.max(product, axis=0), mask=is_column)
    tl.store(minima + edge, tl.min(product, axis=0), mask=is_column)


@triton.jit(do_not_specialize=_SIZES)
def table_to_bytes(
    table,
    lows,
    steps,
    out,
    n_centroids,
    n_queries,
    LANES: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A table as bytes: table = lows + steps * out, nearly.

    table: (n_centroids, n_queries * LANES) float16; lows, steps: of a column, float32
    out: as table, uint8, written
    """
    n_columns = n_queries * LANES
    numbers = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < n_columns
    mask = (numbers < n_centroids)[:, None] & is_column[None, :]
    cells = numbers.to(tl.int64)[:, None] * n_columns + columns[None, :]
    values = tl.load(table + cells, mask=mask, other=0.0).to(tl.float32)
    low = tl.load(lows + columns, mask=is_column, other=0.0)
    step = tl.load(steps + columns, mask=is_column, other=1.0)
    bytes_ = (values - low[None, :]) / step[None, :] + 0.5
    tl.store(out + cells, tl.clamp(bytes_, 0.0, 255.0).to(tl.uint8), mask=mask)


@triton.jit
def _maxima_of_bytes(a, b):
    """The larger of each of the four bytes of int32 words, on GPUs of Hopper or later."""
    return tl.inline_asm_elementwise(
        """{
        .reg .b32 a_even, a_odd, b_even, b_odd;
        and.b32 a_even, $1, 0x00ff00ff;
        and.b32 b_even, $2, 0x00ff00ff;
        and.b32 a_odd, $1, 0xff00ff00;
        and.b32 b_odd, $2, 0xff00ff00;
        max.u16x2 a_even, a_even, b_even;
        max.u16x2 a_odd, a_odd, b_odd;
        or.b32 $0, a_even, a_odd;
        }""",
        "=r,r,r",
        [a, b],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@triton.jit(do_not_specialize=_SIZES)
def scan_codes(
    docs,
    doc_offsets,
    codes,
    table,
    lows,
    steps,
    constants,
    out,
    n_listed,
    n_queries,
    per_program,
    n_tiles,
    LANES: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    LISTED: tl.constexpr,
    MASK: tl.constexpr,
    PAIRED: tl.constexpr,
):
    """MaxSim with every token replaced by its centroid: nothing but gathers from the table.

    Four bytes of the table are a word: a thread keeps maxima of four query tokens in a register, and
    a warp's meet in a quarter of the shuffles.

    docs: (n_listed,) rows of documents where LISTED
    codes: (n_tokens,) int32, or int16 with MASK 0xFFFF
    table: (n_centroids, n_queries * LANES / 4) int32, each four uint8
    lows, steps: (n_queries * LANES,) float32; constants: (n_queries,) float32
    out: (n_queries, n_listed) float32, written
    PAIRED: whether a GPU compares bytes in pairs
    """
    tile = tl.program_id(0) % n_tiles
    first = (tl.program_id(0) // n_tiles).to(tl.int64) * per_program
    tokens = tl.arange(0, BLOCK)
    lanes = tile * (QUERIES * LANES) + tl.arange(0, QUERIES * LANES)
    is_lane = lanes < n_queries * LANES
    words = tile * (QUERIES * LANES // 4) + tl.arange(0, QUERIES * LANES // 4)
    is_word = words < n_queries * (LANES // 4)
    low = tl.load(lows + lanes, mask=is_lane, other=0.0)
    step = tl.load(steps + lanes, mask=is_lane, other=0.0)
    query = tile * QUERIES + tl.arange(0, QUERIES)
    constant = tl.load(constants + query, mask=query < n_queries, other=0.0)
    for position in range(first, tl.minimum(first + per_program, n_listed)):
        doc = position
        if LISTED:
            doc = tl.load(docs + position).to(tl.int64)
        start = tl.load(doc_offsets + doc)
        length = (tl.load(doc_offsets + doc + 1) - start).to(tl.int32)
        best = tl.zeros((BLOCK, QUERIES * LANES // 4), tl.int32)
        for at in range(0, length, BLOCK):
            code = tl.load(codes + start + tl.minimum(at + tokens, length - 1)).to(tl.int32) & MASK
            row_pointers = table + code.to(tl.int64)[:, None] * (n_queries * (LANES // 4))
            values = tl.load(row_pointers + words[None, :], mask=is_word[None, :], other=0)
            if PAIRED:
                best = _maxima_of_bytes(best, values)
            else:
                top_byte = tl.maximum((best >> 24) & 255, (values >> 24) & 255) << 24
                upper = tl.maximum(best & 0xFF0000, values & 0xFF0000)
                lower = tl.maximum(best & 0xFF00, values & 0xFF00)
                best = top_byte | upper | lower | tl.maximum(best & 255, values & 255)
        if PAIRED:
            maxima = tl.reduce(best, 0, _maxima_of_bytes)
        else:
            maxima = tl.max((best >> 24) & 255, axis=0) << 24 | tl.max(best & 0xFF0000, axis=0)
            maxima |= tl.max(best & 0xFF00, axis=0) | tl.max(best & 255, axis=0)
        bytes_ = (maxima[:, None] >> (tl.arange(0, 4) * 8)[None, :]) & 255
        top = tl.reshape(bytes_, (QUERIES * LANES,)).to(tl.float32) * step + low
        scores = tl.sum(tl.reshape(top, (QUERIES, LANES)), axis=1) + constant
        tl.store(
            out + query.to(tl.int64) * n_listed + position,
            tl.where(length > 0, scores, 0.0),
            mask=query < n_queries,
        )


@triton.jit(do_not_specialize=_SIZES)
def score_tokens(
    queries, docs, doc_offsets, codes, gains, residuals, table, codebook, constants, gain_step,
    out, n_listed, n_queries, n_blocks, per_program, n_tiles, DIM: tl.constexpr,
    LANES: tl.constexpr, QUERIES: tl.constexpr, BLOCK: tl.constexpr, LISTED: tl.constexpr,
    MASK: tl.constexpr, BYTES: tl.constexpr, PADDED: tl.constexpr, SPAN: tl.constexpr,
    SHARED: tl.constexpr,
):  # fmt: skip
    """MaxSim with compressed tokens: the centroid's part from a table, the residual decoded.

    Each token is decoded once for all QUERIES of a program.

    queries: (n_queries, LANES, DIM) float16, times the codebook's scales where it has some
    docs: LISTED 0: all; 1: (n_listed,) rows; 2: (n_queries / n_blocks, n_listed), a query's own
    table: (n_centroids, n_queries * LANES) float16; gain_step: (1,) float32
    codebook: (BYTES or, SHARED, 1, 256, SPAN) float16; out: (n_queries, n_listed), written
    """
    tile = tl.program_id(0) % n_tiles
    first = (tl.program_id(0) // n_tiles).to(tl.int64) * per_program
    tokens = tl.arange(0, BLOCK)
    lanes = tile * (QUERIES * LANES) + tl.arange(0, QUERIES * LANES)
    is_lane = lanes < n_queries * LANES
    bytes_ = tl.arange(0, PADDED)
    is_byte = bytes_ < BYTES
    ks = tl.arange(0, PADDED * SPAN)
    query_values = tl.load(
        queries + lanes[None, :] * DIM + ks[:, None],
        mask=(ks[:, None] < DIM) & is_lane[None, :],
        other=0.0,
    )
    step = tl.load(gain_step)
    query = tile * QUERIES + tl.arange(0, QUERIES)
    constant = tl.load(constants + query, mask=query < n_queries, other=0.0)
    for position in range(first, tl.minimum(first + per_program, n_listed)):
        doc = position
        if LISTED == 1:
            doc = tl.load(docs + position).to(tl.int64)
        if LISTED == 2:
            doc = tl.load(docs + (tile // n_blocks).to(tl.int64) * n_listed + position).to(tl.int64)
        start = tl.load(doc_offsets + doc)
        length = (tl.load(doc_offsets + doc + 1) - start).to(tl.int32)
        best = tl.full((BLOCK, QUERIES * LANES), float("-inf"), tl.float32)
        for at in range(0, length, BLOCK):
            indices = start + tl.minimum(at + tokens, length - 1)
            code = tl.load(codes + indices).to(tl.int32) & MASK
            row_pointers = table + code.to(tl.int64)[:, None] * (n_queries * LANES)
            near = tl.load(row_pointers + lanes[None, :], mask=is_lane[None, :], other=0.0)
            entries = tl.load(
                residuals + indices[:, None] * BYTES + bytes_[None, :],
                mask=is_byte[None, :],
                other=0,
            ).to(tl.int32)
            if not SHARED:
                entries += bytes_[None, :] * 256
            spans = entries[:, :, None] * SPAN + tl.arange(0, SPAN)[None, None, :]
            directions = tl.load(codebook + spans, mask=is_byte[None, :, None], other=0.0)
            directions = tl.reshape(directions, (BLOCK, PADDED * SPAN))
            gain = tl.load(gains + indices).to(tl.float32) * step
            product = tl.dot(directions, query_values)
            best = tl.maximum(best, product * gain[:, None] + near.to(tl.float32))
        scores = tl.sum(tl.reshape(tl.max(best, axis=0), (QUERIES, LANES)), axis=1) + constant
        tl.store(
            out + query.to(tl.int64) * n_listed + position,
            tl.where(length > 0, scores, 0.0),
            mask=query < n_queries,
        )


@triton.jit(do_not_specialize=_SIZES)
def score_decoded(
    queries, docs, doc_offsets, codes, gains, residuals, centroids, centroid_scales, codebook,
    codebook_scales, constants, gain_step, out, n_listed, n_queries, n_blocks, per_program,
    n_tiles, DIM: tl.constexpr, LANES: tl.constexpr, QUERIES: tl.constexpr, BLOCK: tl.constexpr,
    LISTED: tl.constexpr, MASK: tl.constexpr, BYTES: tl.constexpr, PADDED: tl.constexpr,
    SPAN: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """MaxSim with decoded tokens in float32, for the few documents whose order is the result.

    As score_tokens, with float32 queries and codebook, and the centroids themselves
    codebook_scales: (DIM,) float32, read where SHARED
    PARTS: in how many parts dimensions are decoded, for want of registers
    """
    tile = tl.program_id(0) % n_tiles
    first = (tl.program_id(0) // n_tiles).to(tl.int64) * per_program
    tokens = tl.arange(0, BLOCK)
    lanes = tile * (QUERIES * LANES) + tl.arange(0, QUERIES * LANES)
    is_lane = lanes < n_queries * LANES
    step = tl.load(gain_step)
    query = tile * QUERIES + tl.arange(0, QUERIES)
    constant = tl.load(constants + query, mask=query < n_queries, other=0.0)
    for position in range(first, tl.minimum(first + per_program, n_listed)):
        doc = position
        if LISTED == 1:
            doc = tl.load(docs + position).to(tl.int64)
        if LISTED == 2:
            doc = tl.load(docs + (tile // n_blocks).to(tl.int64) * n_listed + position).to(tl.int64)
        start = tl.load(doc_offsets + doc)
        length = (tl.load(doc_offsets + doc + 1) - start).to(tl.int32)
        best = tl.full((BLOCK, QUERIES * LANES), float("-inf"), tl.float32)
        for at in range(0, length, BLOCK):
            indices = start + tl.minimum(at + tokens, length - 1)
            code = tl.load(codes + indices).to(tl.int32) & MASK
            scale = tl.load(centroid_scales + code)
            gain = tl.load(gains + indices).to(tl.float32) * step
            product = tl.zeros((BLOCK, QUERIES * LANES), tl.float32)
            for part in tl.static_range(PARTS):
                bytes_ = part * (PADDED // PARTS) + tl.arange(0, PADDED // PARTS)
                is_byte = bytes_ < BYTES
                ks = part * (PADDED // PARTS * SPAN) + tl.arange(0, PADDED // PARTS * SPAN)
                query_values = tl.load(
                    queries + lanes[None, :] * DIM + ks[:, None],
                    mask=(ks[:, None] < DIM) & is_lane[None, :],
                    other=0.0,
                )
                row_pointers = centroids + code.to(tl.int64)[:, None] * DIM + ks[None, :]
                middle = tl.load(row_pointers, mask=ks[None, :] < DIM, other=0).to(tl.float32)
                middle *= scale[:, None]
                entries = tl.load(
                    residuals + indices[:, None] * BYTES + bytes_[None, :],
                    mask=is_byte[None, :],
                    other=0,
                ).to(tl.int32)
                if not SHARED:
                    entries += bytes_[None, :] * 256
                spans = entries[:, :, None] * SPAN + tl.arange(0, SPAN)[None, None, :]
                directions = tl.load(codebook + spans, mask=is_byte[None, :, None], other=0.0)
                directions = tl.reshape(directions, (BLOCK, PADDED // PARTS * SPAN))
                if SHARED:
                    directions *= tl.load(codebook_scales + ks, mask=ks < DIM, other=0.0)[None, :]
                decoded = middle + directions * gain[:, None]
                product = tl.dot(decoded, query_values, product, input_precision=PRECISION)
            best = tl.maximum(best, product)
        scores = tl.sum(tl.reshape(tl.max(best, axis=0), (QUERIES, LANES)), axis=1) + constant
        tl.store(
            out + query.to(tl.int64) * n_listed + position,
            tl.where(length > 0, scores, 0.0),
            mask=query < n_queries,
        )
