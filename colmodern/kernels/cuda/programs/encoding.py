"""Encoding of vectors in Triton, step by step as the CPU does it: the same bytes.

A lane is a vector, so each sum goes from the first dimension to the last. Launch these programs
without fused multiplications; where the CPU has one, it is written out.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _norms(columns, at, is_row, n_rows, DIM: tl.constexpr, TOKENS: tl.constexpr):
    """Lengths of vectors, and what divides them by it; columns: (DIM, n_rows) float32."""
    squares = tl.zeros((TOKENS,), tl.float32)
    for d in range(DIM):
        x = tl.load(columns + d * n_rows + at, mask=is_row, other=0.0)
        squares += x * x
    norms = tl.sqrt_rn(squares)
    one = tl.full((TOKENS,), 1.0, tl.float32)
    return norms, tl.div_rn(one, tl.maximum(norms, 1e-12))


@triton.jit
def _gains(norms, along, length, step):
    """Lengths in steps, rounded to the nearest, halves to even, from 0 to 255."""
    steps = tl.div_rn(tl.div_rn(norms * along, length), step)
    steps = tl.minimum(tl.maximum(steps, 0.0), 255.0)
    return ((steps + 12582912.0) - 12582912.0).to(
        tl.uint8
    )  # 1.5 * 2**23: no digit is left after it


@triton.jit
def _weight_codes(values, cutoffs):
    """The number of the 15 rising cutoffs that each value is above."""
    codes = tl.zeros(values.shape, tl.int32)
    for bit in tl.static_range(4):
        higher = codes + (8 >> bit)
        codes = tl.where(values > tl.load(cutoffs + higher - 1), higher, codes)
    return codes


@triton.jit(do_not_specialize=["n_rows"])
def encode_by_weights(
    columns, cutoffs, levels, scales, tries, steps, gains, residuals, n_rows, n_tries,
    DIM: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Vectors as a gain and four bits a dimension, with weights that all dimensions share.

    columns: (DIM, n_rows) float32, overwritten; cutoffs: (15,), levels: (16,), scales: (DIM,),
    tries: (n_tries,), steps: (TOKENS,) gain step, all float32
    gains: (n_rows,) uint8, residuals: (n_rows, DIM / 2) uint8, written; TOKENS: of a program
    """
    at = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)).to(tl.int64)
    is_row = at < n_rows
    n_rows = n_rows.to(tl.int64)
    norms, by = _norms(columns, at, is_row, n_rows, DIM, TOKENS)
    tl.debug_barrier()  # several threads may hold a vector, and one of them writes it
    for d in range(DIM):
        x = tl.load(columns + d * n_rows + at, mask=is_row, other=0.0) * by
        scale = tl.zeros((TOKENS,), tl.float32) + tl.load(scales + d)
        tl.store(columns + d * n_rows + at, tl.div_rn(x, scale), mask=is_row)
    tl.debug_barrier()
    best = tl.full((TOKENS,), -1.0, tl.float32)
    best_size = tl.zeros((TOKENS,), tl.float32)
    for i in range(n_tries):
        size = tl.load(tries + i)
        along = tl.zeros((TOKENS,), tl.float32)
        length = tl.full((TOKENS,), 1e-12, tl.float32)
        for d in range(DIM):
            x = tl.load(columns + d * n_rows + at, mask=is_row, other=0.0)
            weight = tl.load(levels + _weight_codes(x * size, cutoffs))
            scale = tl.load(scales + d)
            product = weight * (scale * scale)
            along = tl.fma(x, product, along)
            length = tl.fma(weight, product, length)
        near = tl.div_rn(along * along, length)
        best_size = tl.where(near > best, size, best_size)
        best = tl.maximum(near, best)
    along = tl.zeros((TOKENS,), tl.float32)
    length = tl.full((TOKENS,), 1e-12, tl.float32)
    for byte in range(DIM // 2):
        packed = tl.zeros((TOKENS,), tl.int32)
        for half in tl.static_range(2):
            d = 2 * byte + half
            x = tl.load(columns + d * n_rows + at, mask=is_row, other=0.0)
            code = _weight_codes(x * best_size, cutoffs)
            packed |= code << (4 * half)
            scale = tl.load(scales + d)
            weight = tl.load(levels + code) * scale
            along += x * scale * weight
            length += weight * weight
        tl.store(residuals + at * (DIM // 2) + byte, packed.to(tl.uint8), mask=is_row)
    step = tl.load(steps + tl.arange(0, TOKENS))
    tl.store(gains + at, _gains(norms, along, length, step), mask=is_row)


@triton.jit(do_not_specialize=["n_rows"])
def encode_residuals(
    columns, codebook, half_norms, steps, gains, residuals, n_rows,
    BYTES: tl.constexpr, SPAN: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Vectors as a gain and the nearest of 256 entries for each SPAN of their dimensions.

    columns: (BYTES * SPAN, n_rows) float32; codebook: (BYTES, 256, SPAN),
    half_norms: (BYTES, 256), steps: (TOKENS,) gain step, all float32
    gains: (n_rows,) uint8, residuals: (n_rows, BYTES) uint8, written; TOKENS: of a program
    BLOCK: entries at a time
    """
    at = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)).to(tl.int64)
    is_row = at < n_rows
    n_rows = n_rows.to(tl.int64)
    norms, by = _norms(columns, at, is_row, n_rows, BYTES * SPAN, TOKENS)
    along = tl.zeros((TOKENS,), tl.float32)
    length = tl.full((TOKENS,), 1e-12, tl.float32)
    for byte in range(BYTES):
        first = columns + byte * SPAN * n_rows + at
        best = tl.full((TOKENS,), float("-inf"), tl.float32)
        nearest = tl.zeros((TOKENS,), tl.int32)
        for entry in range(0, 256, BLOCK):
            rows = byte * 256 + entry + tl.arange(0, BLOCK)
            near = tl.zeros((TOKENS, BLOCK), tl.float32) - tl.load(half_norms + rows)[None, :]
            for j in tl.static_range(SPAN):
                x = tl.load(first + j * n_rows, mask=is_row, other=0.0) * by
                weight = tl.load(codebook + rows * SPAN + j)
                x_of_all = tl.broadcast_to(x[:, None], (TOKENS, BLOCK))
                weight_of_all = tl.broadcast_to(weight[None, :], (TOKENS, BLOCK))
                near = tl.fma(x_of_all, weight_of_all, near)
            top, where = tl.max(
                near, axis=1, return_indices=True, return_indices_tie_break_left=True
            )
            nearest = tl.where(top > best, entry + where, nearest)
            best = tl.maximum(top, best)
        tl.store(residuals + at * BYTES + byte, nearest.to(tl.uint8), mask=is_row)
        for j in tl.static_range(SPAN):
            weight = tl.load(codebook + (byte * 256 + nearest) * SPAN + j)
            along += tl.load(first + j * n_rows, mask=is_row, other=0.0) * by * weight
            length += weight * weight
    step = tl.load(steps + tl.arange(0, TOKENS))
    tl.store(gains + at, _gains(norms, along, length, step), mask=is_row)


@triton.jit
def mean_by_document(values, doc_offsets, means, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """The mean of a document's tokens, added in their order; zero without tokens.

    values: (n_tokens, DIM) float32; doc_offsets: (n_docs + 1,) int64; means: (n_docs, DIM), written
    """
    doc = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    start, stop = tl.load(doc_offsets + doc), tl.load(doc_offsets + doc + 1)
    total = tl.zeros((WIDTH,), tl.float32)
    for token in range(start, stop):
        total += tl.load(values + token * DIM + columns, mask=columns < DIM, other=0.0)
    count = tl.zeros((WIDTH,), tl.float32) + tl.maximum(stop - start, 1).to(tl.float32)
    tl.store(means + doc * DIM + columns, tl.div_rn(total, count), mask=columns < DIM)
