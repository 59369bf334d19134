"""Nearest centroids in Triton: the products of a block of tokens never leave the registers."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def assign_tiles(
    values,
    value_scales,
    order,
    tiles,
    centroids,
    centroid_scales,
    half_norms,
    codes,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The nearest centroid of each token of a tile, the first of equal ones.

    Products are whole numbers, and each step after them is rounded as the CPU kernel
    does, so the codes are the same ones: launch it without fused multiplications.

    values: (n_tokens, DIM) int8 and value_scales: (n_tokens,) float32; order: (n_tokens,) int32
    tiles: (n_tiles, 4) int32, the first position in order, the end, the first centroid, the end
    codes: (n_tokens,) int64, written
    """
    tile = tiles + tl.program_id(0) * 4
    first, last = tl.load(tile), tl.load(tile + 1)
    start, stop = tl.load(tile + 2), tl.load(tile + 3)
    # a tile's last token, again, fills its rows; so does the last centroid
    token = tl.load(order + tl.minimum(first + tl.arange(0, TOKENS), last - 1)).to(tl.int64)
    ks = tl.arange(0, WIDTH)
    token_values = tl.load(
        values + token[:, None] * DIM + ks[None, :], mask=ks[None, :] < DIM, other=0
    )
    scale = tl.load(value_scales + token)
    best = tl.full((TOKENS,), float("-inf"), tl.float32)
    nearest = tl.zeros((TOKENS,), tl.int32)
    for at in range(start, stop, BLOCK):
        number = tl.minimum(at + tl.arange(0, BLOCK), stop - 1)
        centroid_values = tl.load(
            centroids + number.to(tl.int64)[:, None] * DIM + ks[None, :],
            mask=ks[None, :] < DIM,
            other=0,
        )
        total = tl.dot(token_values, tl.trans(centroid_values)).to(tl.float32)
        near = total * tl.load(centroid_scales + number)[None, :] * scale[:, None]
        near -= tl.load(half_norms + number)[None, :]
        top, where = tl.max(near, axis=1, return_indices=True, return_indices_tie_break_left=True)
        is_nearer = top > best
        nearest = tl.where(is_nearer, tl.minimum(at + where, stop - 1), nearest)
        best = tl.maximum(best, top)
    tl.store(codes + token, nearest)
