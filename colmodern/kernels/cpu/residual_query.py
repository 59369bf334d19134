"""A query in the two forms that compressed residuals are scored with, and that scoring.

A residual whose bytes name entries of a codebook is looked up in tables, byte by byte. One whose
four bits a dimension name weights that all dimensions share is multiplied out: shuffles and byte
products are about twice as fast as 64 rows of a table that no first-level cache holds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import int64, types, uint16, uint32, uint64
from numba.extending import overload

from colmodern.kernels.cpu.ir import dots, simd
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.token_block import TokenBlock
from colmodern.kernels.types import (
    DOC_PARTS,
    FEWEST_DOC_PARTS,
    Address,
    Floats,
    Int8s,
    Int16s,
    Int64s,
    Mask,
    ResidualQuery,
    TableQuery,
    WeightQuery,
)


@compiled
def similarities(query: ResidualQuery, block: TokenBlock, tokens: Int64s, out: Int16s) -> None:
    """Similarities of tokens to one block of lanes, centroid plus residual, in units.

    Args:
        query: A TableQuery or a WeightQuery.
        block: The block of lanes, and the segment's tokens.
        tokens: (n,) int64 tokens of the segment.
        out: (n or more, n_lanes) int16, written.
    """
    if block.n_lanes == FEW_LANES:
        _similarities(query, block, uint16(block.mask), tokens, out)
    else:
        _similarities(query, block, uint32(block.mask), tokens, out)


def _similarities(
    query: ResidualQuery, block: TokenBlock, mask: Mask, tokens: Int64s, out: Int16s
) -> None:
    """The same for as many lanes as the mask has bits."""
    raise NotImplementedError("for compiled code")


@overload(_similarities, strict=False)  # type: ignore[untyped-decorator]
def _similarities_of(
    query: types.BaseTuple,
    block: types.BaseTuple,
    mask: types.Type,
    tokens: types.Type,
    out: types.Type,
) -> Callable[..., None]:
    return _by_table if query.instance_class is TableQuery else _by_weights


def _by_table(
    query: TableQuery, block: TokenBlock, mask: Mask, tokens: Int64s, out: Int16s
) -> None:
    # arrays are taken out of records before loops: numba counts the references to each
    codes, gains, factors = block.codes, block.gains, query.factors
    n_lanes, n_bytes = simd.n_lanes(mask), block.residuals.shape[1]
    row_size, residuals = uint64(2) * n_lanes, uint64(block.residuals.ctypes.data)
    tables, to = uint64(query.tables[block.number].ctypes.data), uint64(out.ctypes.data)
    for at in range(len(tokens)):
        token = tokens[at]
        residual = residuals + uint64(token * n_bytes)
        total = simd.load_i8(tables + simd.scalar_u8(residual) * n_lanes, mask)
        for byte in range(1, n_bytes):
            entry = uint64(byte * 256) + simd.scalar_u8(residual + uint64(byte))
            total = simd.add_i16(total, simd.load_i8(tables + entry * n_lanes, mask))
        factor = simd.splat_i16(factors[gains[token]], mask)
        scaled = simd.multiply_high(simd.shift_left(total, query.shift), factor)
        row = simd.load_i16(block.scores + uint64(codes[token]) * row_size, mask)
        simd.store_i16(to + uint64(at) * row_size, simd.add_saturated(row, scaled))


def _by_weights(
    query: WeightQuery, block: TokenBlock, mask: Mask, tokens: Int64s, out: Int16s
) -> None:
    codes, gains, factors = block.codes, block.gains, query.factors
    residuals, n_bytes = uint64(block.residuals.ctypes.data), block.residuals.shape[1]
    n_lanes, n = simd.n_lanes(mask), len(tokens)
    row_size, to = uint64(2) * n_lanes, uint64(out.ctypes.data)
    dims, weights = uint64(query.dims[block.number].ctypes.data), uint64(query.weights.ctypes.data)
    start = simd.load_i32(uint64(query.starts[block.number].ctypes.data), mask)
    zero = simd.splat_i32(np.int32(0), mask)
    unpacked = np.empty(8 * n_bytes, np.uint8)
    a_at, size = uint64(unpacked.ctypes.data), uint64(2 * n_bytes)
    b_at, c_at, d_at = a_at + size, a_at + size + size, a_at + size + size + size
    for at in range(0, n, 4):
        # four tokens share what is loaded of the query, and eight sums hide each other's latency
        _unpack(residuals, n_bytes, tokens[at], weights, a_at)
        _unpack(residuals, n_bytes, tokens[min(at + 1, n - 1)], weights, b_at)
        _unpack(residuals, n_bytes, tokens[min(at + 2, n - 1)], weights, c_at)
        _unpack(residuals, n_bytes, tokens[min(at + 3, n - 1)], weights, d_at)
        a, b, c, d, e, f, g, h = start, start, start, start, zero, zero, zero, zero
        for group in range(0, n_bytes, 4):
            low, high = uint64(group), uint64(n_bytes + group)
            lanes = dims + uint64(2 * group) * n_lanes
            others = lanes + uint64(4) * n_lanes
            a = dots.add_weighted_4(a, lanes, a_at + low)
            b = dots.add_weighted_4(b, lanes, b_at + low)
            c = dots.add_weighted_4(c, lanes, c_at + low)
            d = dots.add_weighted_4(d, lanes, d_at + low)
            e = dots.add_weighted_4(e, others, a_at + high)
            f = dots.add_weighted_4(f, others, b_at + high)
            g = dots.add_weighted_4(g, others, c_at + high)
            h = dots.add_weighted_4(h, others, d_at + high)
        a, b, c, d = simd.add_i32(a, e), simd.add_i32(b, f), simd.add_i32(c, g), simd.add_i32(d, h)
        for j in range(min(4, n - at)):
            token = tokens[at + j]
            total = a if j == 0 else (b if j == 1 else (c if j == 2 else d))
            factor = simd.splat_f32(factors[gains[token]], mask)
            units = simd.narrow(simd.round_f32(simd.multiply_f32(simd.to_f32(total), factor)))
            row = simd.load_i16(block.scores + uint64(codes[token]) * row_size, mask)
            simd.store_i16(to + uint64(at + j) * row_size, simd.add_saturated(row, units))


@borrowing
def _unpack(residuals: Address, n_bytes: int, token: int, weights: Address, to: Address) -> None:
    """Write the weights of a token's dimensions: those in the low bits of its bytes, then the others.

    Args:
        residuals: Address of (n_tokens, n_bytes) uint8.
        n_bytes: Bytes of a token, a multiple of 4.
        token: Row of the token.
        weights: Address of (16,) uint8.
        to: Address of (2 * n_bytes,) uint8, written.
    """
    residual, half = residuals + uint64(token * n_bytes), uint64(n_bytes)
    whole = n_bytes // 64 * 64
    for at in range(0, whole, 64):
        here = to + uint64(at)
        dots.unpack_64(residual + uint64(at), weights, here, here + half)
    if n_bytes < 16:
        for at in range(0, n_bytes, 4):
            here = to + uint64(at)
            dots.unpack_4(residual + uint64(at), weights, here, here + half)
        return
    for first in range(whole, n_bytes, 16):
        begin = uint64(min(first, n_bytes - 16))  # the last bytes are unpacked twice
        dots.unpack_16(residual + begin, weights, to + begin, to + begin + half)


@compiled
def fill_tables(
    codebook: Floats, queries: Floats, mask: Mask, scale: np.float32, tables: Int8s
) -> Floats:
    """Products of one block of lanes with every codebook entry, times ``scale``, as int8.

    Args:
        codebook: (n_bytes, 256, width) float32.
        queries: (dim, n_lanes) float32.
        mask: Mask of the block.
        scale: Factor from products to int8; 0 to write nothing.
        tables: (n_bytes, 256, n_lanes) int8, written.

    Returns:
        (n_lanes,) float32, with scale 0 the largest magnitude in each lane.
    """
    most = np.empty(queries.shape[1], np.float32)
    if len(most) == FEW_LANES:
        _fill_tables(codebook, queries, uint16(mask), scale, tables, most)
    else:
        _fill_tables(codebook, queries, uint32(mask), scale, tables, most)
    return most


@borrowing
def _fill_tables(
    codebook: Floats,
    queries: Floats,
    mask: Mask,
    scale: np.float32,
    tables: Int8s,
    most: Floats,
) -> None:
    """fill_tables for as many lanes as the mask has bits; most receives the largest magnitudes."""
    width = codebook.shape[2]
    lanes, to = uint64(queries.ctypes.data), uint64(tables.ctypes.data)
    n_lanes = simd.n_lanes(mask)
    row_size = uint64(4) * n_lanes
    zero = simd.splat_f32(np.float32(0), mask)
    largest, by = zero, simd.splat_f32(np.float32(scale), mask)
    for byte in range(codebook.shape[0]):
        # LLVM cannot know that the tables do not overlap what it would keep in registers
        first = lanes + uint64(byte * width) * row_size
        a = simd.load_f32(first, mask)
        b = simd.load_f32(first + uint64(min(1, width - 1)) * row_size, mask)
        c = simd.load_f32(first + uint64(min(2, width - 1)) * row_size, mask)
        d = simd.load_f32(first + uint64(min(3, width - 1)) * row_size, mask)
        for entry in range(256):
            weights = codebook[byte, entry]
            product = simd.multiply_add(a, simd.splat_f32(weights[0], mask), zero)
            if width == 4:
                product = simd.multiply_add(b, simd.splat_f32(weights[1], mask), product)
                product = simd.multiply_add(c, simd.splat_f32(weights[2], mask), product)
                product = simd.multiply_add(d, simd.splat_f32(weights[3], mask), product)
            else:
                for j in range(1, width):
                    row = simd.load_f32(first + uint64(j) * row_size, mask)
                    product = simd.multiply_add(row, simd.splat_f32(weights[j], mask), product)
            if scale == 0:
                largest = simd.maximum_f32(largest, product)
                largest = simd.maximum_f32(largest, simd.subtract_f32(zero, product))
            else:
                row = simd.narrow(simd.round_f32(simd.multiply_f32(product, by)))
                simd.store_i16_as_i8(to + uint64(byte * 256 + entry) * n_lanes, row)
    simd.store_f32(uint64(most.ctypes.data), largest)


@borrowing
def fill_doc_tables(codebook: Floats, summed: Floats, products: Floats, table: Int16s) -> float:
    """Write the products of a vector with every codebook entry, and the same in steps of int16.

    Args:
        codebook: (n_bytes, width, 256) float32.
        summed: (n_bytes * width,) float32 vector.
        products: (n_bytes, 256) float32, written.
        table: (n_bytes, 256) int16, written.

    Returns:
        The product that a step stands for.
    """
    n_bytes, width, _ = codebook.shape
    for byte in range(n_bytes):
        for entry in range(256):
            products[byte, entry] = np.float32(0)
        for j in range(width):
            weight = summed[byte * width + j]
            for entry in range(256):
                products[byte, entry] += codebook[byte, j, entry] * weight
    # the bits of floats without a sign are in the order of the floats, and LLVM takes 16 at a time
    bits = np.float32(1e-12).view(np.int32)
    for byte in range(n_bytes):
        for entry in range(256):
            value = np.float32(products[byte, entry]).view(np.int32)
            bits = max(bits, value & np.int32(0x7FFFFFFF))
    largest = np.int32(bits).view(np.float32)
    step = float(largest) / 32_767
    by = np.float32(1 / step)
    for byte in range(n_bytes):
        for entry in range(256):
            table[byte, entry] = np.int16(np.rint(products[byte, entry] * by))
    return step


@compiled
def make_weight_query(
    padded: Floats, n_lanes: int, levels: Int8s, scales: Floats, gain_units: float
) -> tuple[WeightQuery, float]:
    """A WeightQuery, and the length that a step of its bytes stands for.

    Args:
        padded: (n_blocks * n_lanes, dim or more) float32 query tokens.
        n_lanes: Lanes of a block.
        levels: (16,) int8; a weight is a level times a scale.
        scales: (dim,) float32.
        gain_units: Units of similarity for each step of a residual's gain.
    """
    n_blocks, dim = len(padded) // n_lanes, len(scales)
    largest = np.float32(1e-12)
    for lane in range(len(padded)):
        for d in range(dim):
            largest = max(largest, abs(padded[lane, d] * scales[d]))
    step = float(largest) / 127
    by = np.float32(1 / step)
    dims = np.empty((n_blocks, dim // 4, n_lanes, 4), np.int8)
    starts = np.empty((n_blocks, n_lanes), np.int32)
    for block in range(n_blocks):
        for lane in range(n_lanes):
            total = np.int32(0)
            for d in range(dim):
                value = np.int32(np.rint(padded[block * n_lanes + lane, d] * scales[d] * by))
                # a byte names two dimensions: in the low bits of four bytes, then in the high ones
                dims[block, d // 8 * 2 + d % 2, lane, d % 8 // 2] = value
                total += value
            starts[block, lane] = -128 * total
    weights, factors = np.empty(16, np.uint8), np.empty(256, np.float32)
    for code in range(16):
        weights[code] = np.int16(levels[code]) + 128
    for gain in range(256):
        factors[gain] = gain * gain_units * step
    return WeightQuery(dims, starts, weights, factors), step


@compiled
def choose_doc_parts(table: Int16s) -> Int64s:
    """(n,) int64, the bytes whose entries vary most, the most varied first: one of DOC_PARTS.

    Args:
        table: (n_doc_bytes, 256) int16, as fill_doc_tables writes it.
    """
    n_bytes = len(table)
    spread = np.empty(n_bytes, np.int64)
    for byte in range(n_bytes):
        total, square = int64(0), int64(0)
        for entry in range(256):
            value = int64(table[byte, entry])
            total += value
            square += value * value
        spread[byte] = 256 * square - total * total
    parts = np.empty(max(min(n_bytes, FEWEST_DOC_PARTS), n_bytes // DOC_PARTS), np.int64)
    for i in range(len(parts)):
        widest = 0
        for byte in range(n_bytes):
            widest = byte if spread[byte] > spread[widest] else widest
        parts[i], spread[widest] = widest, -1
    return parts
