"""A query in the two forms that compressed residuals are scored with, and that scoring.

A residual whose bytes name entries of a codebook is looked up in tables, byte by byte. One whose
four bits a dimension name weights that all dimensions share is multiplied out: shuffles and byte
products are about twice as fast as 64 rows of a table that no first-level cache holds. One block
of lanes is as in ``cpu.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64
from numba.extending import overload

from colmodern.kernels import dots, simd
from colmodern.kernels.jit import compiled


class TableQuery(NamedTuple):
    """Products of the query with every codebook entry.

    tables: (n_blocks, n_bytes, 256, n_lanes) int8
    factors: (256,) int16, by gain: from sums of entries, shifted left by ``shift``, to units of
        similarity, times 2**16
    """

    tables: npt.NDArray[np.int8]
    factors: npt.NDArray[np.int16]
    shift: np.int16


class WeightQuery(NamedTuple):
    """The query itself, for residuals of four bits a dimension.

    dims: (n_blocks, dim / 4, n_lanes, 4) int8, of each eight dimensions first 0, 2, 4, 6
    starts: (n_blocks, n_lanes) int32, -128 times a lane's sum
    weights: (16,) uint8, what a code stands for plus 128
    factors: (256,) float32, by gain: from products to units of similarity
    """

    dims: npt.NDArray[np.int8]
    starts: npt.NDArray[np.int32]
    weights: npt.NDArray[np.uint8]
    factors: npt.NDArray[np.float32]


ResidualQuery = TableQuery | WeightQuery


def similarity(
    row: Any, query: Any, block: int, mask: Any, residual: Any, n_bytes: int, gain: int
) -> Any:
    """One token against one block of lanes, in units: centroid plus residual. For compiled code.

    row: address of its centroid's scores; residual: address of its bytes; mask: of the lanes
    """
    raise NotImplementedError("for compiled code")


@overload(similarity)  # type: ignore[untyped-decorator]
def _similarity(
    row: Any, query: Any, block: int, mask: Any, residual: Any, n_bytes: int, gain: int
) -> Any:
    return _by_table if query.instance_class is TableQuery else _by_weights


def _by_table(
    row: Any, query: Any, block: int, mask: Any, residual: Any, n_bytes: int, gain: int
) -> Any:
    n_lanes = simd.n_lanes(mask)
    tables = uint64(query.tables[block].ctypes.data)
    total = simd.load_i8(tables + simd.scalar_u8(residual) * n_lanes, mask)
    for part in range(1, n_bytes):
        entry = uint64(part * 256) + simd.scalar_u8(residual + uint64(part))
        total = simd.add_i16(total, simd.load_i8(tables + entry * n_lanes, mask))
    factor = simd.splat_i16(query.factors[gain], mask)
    scaled = simd.multiply_high(simd.shift_left(total, query.shift), factor)
    return simd.add_saturated(simd.load_i16(row, mask), scaled)


def _by_weights(
    row: Any, query: Any, block: int, mask: Any, residual: Any, n_bytes: int, gain: int
) -> Any:
    n_lanes = simd.n_lanes(mask)
    dims, weights = uint64(query.dims[block].ctypes.data), uint64(query.weights.ctypes.data)
    even = simd.load_i32(uint64(query.starts[block].ctypes.data), mask)
    odd = simd.splat_i32(np.int32(0), mask)
    whole = n_bytes // 8 * 8
    for at in range(0, whole, 8):  # two sums: one would wait for itself
        place, other = residual + uint64(at), residual + uint64(at + 4)
        even = dots.add_dots_of_8(even, dims + uint64(2 * at) * n_lanes, place, weights)
        odd = dots.add_dots_of_8(odd, dims + uint64(2 * at + 8) * n_lanes, other, weights)
    if whole < n_bytes:
        last = dims + uint64(2 * whole) * n_lanes
        even = dots.add_dots_of_8(even, last, residual + uint64(whole), weights)
    total = simd.add_i32(even, odd)
    units = simd.multiply_f32(simd.to_f32(total), simd.splat_f32(query.factors[gain], mask))
    return simd.add_saturated(simd.load_i16(row, mask), simd.narrow(simd.round_f32(units)))


@compiled
def fill_tables(codebook: Any, queries: Any, mask: Any, scale: Any, tables: Any) -> Any:
    """Products of one block of lanes with every codebook entry, times ``scale``, as int8.

    codebook: (n_bytes, 256, width) float32; queries: (dim, n_lanes) float32; mask: of the lanes
    tables: (n_bytes, 256, n_lanes) int8, written unless scale is 0
    Returns (n_lanes,) float32, the largest magnitude in each lane before scaling.
    """
    width, most = codebook.shape[2], np.empty(queries.shape[1], np.float32)
    places, out = uint64(queries.ctypes.data), uint64(tables.ctypes.data)
    n_lanes = simd.n_lanes(mask)
    zero = simd.splat_f32(np.float32(0), mask)
    largest, by = zero, simd.splat_f32(np.float32(scale), mask)
    for part in range(codebook.shape[0]):
        for entry in range(256):
            product = zero
            for j in range(width):
                lanes = simd.load_f32(places + uint64((part * width + j) * 4) * n_lanes, mask)
                weight = simd.splat_f32(codebook[part, entry, j], mask)
                product = simd.multiply_add(lanes, weight, product)
            if scale == 0:
                largest = simd.maximum_f32(largest, product)
                largest = simd.maximum_f32(largest, simd.subtract_f32(zero, product))
            else:
                row = simd.narrow(simd.round_f32(simd.multiply_f32(product, by)))
                simd.store_i16_as_i8(out + uint64(part * 256 + entry) * n_lanes, row)
    simd.store_f32(uint64(most.ctypes.data), largest)
    return most


def weight_query(
    by_lane: npt.NDArray[np.float32],
    levels: npt.NDArray[np.int8],
    scales: npt.NDArray[np.float32],
    gains: npt.NDArray[np.float64],
    unit: float,
) -> tuple[WeightQuery, float]:
    """The query in ``WeightQuery``'s form, and the deviation that its rounding gives a similarity.

    by_lane: (n_blocks, n_lanes, dim); levels: (16,) and scales: (dim,), a weight is their product
    gains: (256,) lengths of residuals; unit: of similarity
    """
    scaled = by_lane * scales
    step = max(float(np.abs(scaled).max()), 1e-12) / 127
    rounded = np.rint(scaled / np.float32(step)).astype(np.int8)
    blocks, n_lanes, dim = rounded.shape
    # a byte names two dimensions: those in the low bits of four bytes, then those in the high ones
    dims = rounded.reshape(blocks, n_lanes, dim // 8, 4, 2).transpose(0, 2, 4, 1, 3)
    query = WeightQuery(
        np.ascontiguousarray(dims).reshape(blocks, dim // 4, n_lanes, 4),
        -128 * rounded.sum(axis=2, dtype=np.int32),
        (levels.astype(np.int16) + 128).astype(np.uint8),
        np.asarray(gains * step / unit, np.float32),
    )
    spread = float(np.sqrt(np.square(levels.astype(np.float64)).mean() * dim))
    return query, 0.29 * step * spread * float(gains[-1])
