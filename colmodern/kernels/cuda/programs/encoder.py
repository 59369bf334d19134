"""What lies between the products of an encoder in Triton: each reads and writes its rows once."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_rows"])
def add_norm(
    sums,
    addend,
    weight,
    bias,
    out,
    eps,
    n_rows,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    ADDED: tl.constexpr,
    BIASED: tl.constexpr,
):
    """Add rows to the sum over layers, and normalise the result.

    sums: (n_rows, DIM) float32, written where ADDED; addend: (n_rows, DIM), read where ADDED
    weight, bias: (DIM,) float32, bias read where BIASED; out: (n_rows, DIM), written
    WIDTH: power of two of at least DIM; ROWS: of a program
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    is_column = columns < DIM
    at = rows.to(tl.int64)[:, None] * DIM + columns[None, :]
    mask = (rows < n_rows)[:, None] & is_column[None, :]
    values = tl.load(sums + at, mask=mask, other=0.0)
    if ADDED:
        values += tl.load(addend + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(sums + at, values, mask=mask)
    mean = tl.sum(values, axis=1) / DIM
    centred = tl.where(is_column[None, :], values - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) / DIM
    factor = tl.load(weight + columns, mask=is_column, other=0.0)
    normed = centred * tl.rsqrt(variance + eps)[:, None] * factor[None, :]
    if BIASED:
        normed += tl.load(bias + columns, mask=is_column, other=0.0)[None, :]
    tl.store(out + at, normed.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def gelu_gate(hidden, out, n_rows, DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The exact gelu of a row's first half times its second half.

    hidden: (n_rows, 2 * DIM); out: (n_rows, DIM), written; ROWS and BLOCK: of a program's output
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = (rows < n_rows)[:, None] & (columns < DIM)[None, :]
    row = rows.to(tl.int64)[:, None]
    inner = hidden + row * (2 * DIM) + columns[None, :]
    a = tl.load(inner, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(inner + DIM, mask=mask, other=0.0).to(tl.float32)
    activated = 0.5 * a * (1.0 + tl.math.erf(a * 0.7071067811865476))
    gated = (activated * gate).to(out.dtype.element_ty)
    tl.store(out + row * DIM + columns[None, :], gated, mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def rotate(
    qkv,
    cosines,
    sines,
    positions,
    n_rows,
    HEADS: tl.constexpr,
    PAIRS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Turn the pairs of dimensions of queries and keys by the angles of their positions, in place.

    qkv: (n_rows, 3, HEADS / 2, 2 * PAIRS), pairs side by side; HEADS: of queries and keys together
    cosines, sines: (n_positions, PAIRS) float32; positions: (n_rows,) int32
    PAIRS: power of two; ROWS and BLOCK: rows and heads of a program
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    heads = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_row = rows < n_rows
    position = tl.load(positions + rows, mask=is_row, other=0)
    angle = position.to(tl.int64)[:, None] * PAIRS + tl.arange(0, PAIRS)[None, :]
    c = tl.load(cosines + angle)[:, None, :]
    s = tl.load(sines + angle)[:, None, :]
    columns = tl.arange(0, 2 * PAIRS)
    row = rows.to(tl.int64)[:, None, None] * (3 * HEADS * PAIRS)
    at = row + heads[None, :, None] * (2 * PAIRS) + columns[None, None, :]
    is_head = is_row[:, None] & (heads < HEADS)[None, :]
    mask = is_head[:, :, None] & (columns >= 0)[None, None, :]
    values = tl.load(qkv + at, mask=mask, other=0.0).to(tl.float32)
    a, b = tl.split(tl.reshape(values, (ROWS, BLOCK, PAIRS, 2)))
    turned = tl.join(a * c - b * s, a * s + b * c)
    turned = tl.reshape(turned, (ROWS, BLOCK, 2 * PAIRS))
    tl.store(qkv + at, turned.to(qkv.dtype.element_ty), mask=mask)
