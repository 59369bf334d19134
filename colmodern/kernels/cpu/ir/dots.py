"""Dot products of bytes, four dimensions at a time, with the CPU's own instruction for them.

The same integers with AVX-512 VNNI, AVX-512, AVX2, SSE2 and on CPUs without any of these.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

from colmodern.kernels.cpu.ir.vectors import (
    BYTE,
    I32,
    INT,
    SHORT,
    Operation,
    call,
    constant,
    join,
    load,
    operation,
    splat,
    store,
    take_lanes,
)


@operation(I32, I32, types.uintp, types.uintp)
def add_dots_of_4(
    builder: ir.IRBuilder, total: ir.Value, lanes: ir.Value, scalars: ir.Value
) -> ir.Value:
    """Add to each int32 lane the dot product of four bytes.

    lanes: address of (n_lanes, 4) uint8, four dimensions of each lane
    scalars: address of (4,) int8, the same dimensions of the one vector on the other side
    """
    many = load(builder, lanes, ir.VectorType(BYTE, 4 * total.type.count), 1)
    word = splat(builder, load(builder, scalars, INT, 1), total.type)
    return _dots_of_4(builder, total, many, builder.bitcast(word, many.type))


@operation(I32, I32, types.uintp, types.uintp)
def add_weighted_4(
    builder: ir.IRBuilder, total: ir.Value, lanes: ir.Value, weights: ir.Value
) -> ir.Value:
    """Add to each int32 lane the dot product of four bytes; lanes are signed, weights unsigned.

    lanes: address of (n_lanes, 4) int8; weights: address of (4,) uint8
    """
    many = load(builder, lanes, ir.VectorType(BYTE, 4 * total.type.count), 1)
    word = splat(builder, load(builder, weights, INT, 1), total.type)
    return _dots_of_4(builder, total, builder.bitcast(word, many.type), many)


def _unpacks(n_bytes: int) -> Operation:
    """The operation that turns so many bytes into weights."""

    @operation(types.void, types.uintp, types.uintp, types.uintp, types.uintp)
    def unpack(
        builder: ir.IRBuilder, codes: ir.Value, weights: ir.Value, low: ir.Value, high: ir.Value
    ) -> None:
        """Write the weights that bytes name, those in their low and those in their high bits.

        codes: address of (n_bytes,) uint8; weights: address of (16,) uint8
        low, high: addresses of (n_bytes,) uint8, written
        """
        vector = ir.VectorType(BYTE, n_bytes)
        named = load(builder, codes, vector, 1)
        for to, code in (
            (low, builder.and_(named, constant(vector, 15))),
            (high, builder.lshr(named, constant(vector, 4))),
        ):
            store(builder, to, _look_up(builder, weights, code), 1)

    return unpack


unpack_64, unpack_16, unpack_4 = _unpacks(64), _unpacks(16), _unpacks(4)


def _dots_of_4(
    builder: ir.IRBuilder, total: ir.Value, unsigned: ir.Value, signed: ir.Value
) -> ir.Value:
    """Add to total, in each lane, the dot product of its four uint8 and its four int8."""
    features = _features()
    if "+avx512vnni" in features:
        name = "llvm.x86.avx512.vpdpbusd.512"
        return _call_in_pieces(builder, name, [total, unsigned, signed], 16)
    return _portable_dots(builder, features, total, unsigned, signed)


def _features() -> list[str]:
    """Features of the CPU that code is compiled for, as LLVM names them."""
    features: list[str] = cpu_target.target_context.codegen()._tm_features.split(",")
    return features


def _look_up(builder: ir.IRBuilder, table: ir.Value, indices: ir.Value) -> ir.Value:
    """uint8 of a table of 16 at an address, one for each index byte below 16."""
    features, sixteen = _features(), ir.VectorType(BYTE, 16)
    for feature, name, n_bytes in (
        ("+avx512bw", "llvm.x86.avx512.pshuf.b.512", 64),
        ("+avx2", "llvm.x86.avx2.pshuf.b", 32),
        ("+ssse3", "llvm.x86.ssse3.pshuf.b.128", 16),
    ):
        fits = feature in features and indices.type.count % n_bytes == 0
        if fits and builder.module.triple.startswith("x86_64"):
            copies = ir.Constant(ir.VectorType(INT, n_bytes), [i % 16 for i in range(n_bytes)])
            row = load(builder, table, sixteen, 1)
            copied = builder.shuffle_vector(row, ir.Constant(sixteen, ir.Undefined), copies)
            vectors = [
                call(
                    builder, name, copied.type, [copied, take_lanes(builder, indices, at, n_bytes)]
                )
                for at in range(0, indices.type.count, n_bytes)
            ]
            return join_all(builder, vectors)
    entries = ir.Constant(indices.type, ir.Undefined)
    for i in range(indices.type.count):
        lane = ir.Constant(INT, i)
        index = builder.zext(builder.extract_element(indices, lane), table.type)
        entry = load(builder, builder.add(table, index), BYTE, 1)
        entries = builder.insert_element(entries, entry, lane)
    return entries


def _portable_dots(
    builder: ir.IRBuilder, features: list[str], sums: ir.Value, unsigned: ir.Value, signed: ir.Value
) -> ir.Value:
    # bytes 0 and 2 of a lane, then 1 and 3, as two int16 each: no byte leaves its lane
    halves = ir.VectorType(SHORT, 2 * sums.type.count)
    unsigned, signed = builder.bitcast(unsigned, halves), builder.bitcast(signed, halves)
    eight = constant(halves, 8)
    for a, b in (
        (builder.and_(unsigned, constant(halves, 255)), builder.shl(signed, eight)),
        (builder.lshr(unsigned, eight), signed),
    ):
        dots = _dots_of_2(builder, features, a, builder.ashr(b, eight))
        sums = builder.add(sums, dots)
    return sums


def _dots_of_2(builder: ir.IRBuilder, features: list[str], a: ir.Value, b: ir.Value) -> ir.Value:
    """a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1] in int32."""
    if builder.module.triple.startswith("x86_64"):  # LLVM would spend two instructions
        for feature, name, n_lanes in (
            ("+avx512bw", "llvm.x86.avx512.pmaddw.d.512", 16),
            ("+avx2", "llvm.x86.avx2.pmadd.wd", 8),
        ):
            if feature in features:
                return _call_in_pieces(builder, name, [a, b], n_lanes)
        return _call_in_pieces(builder, "llvm.x86.sse2.pmadd.wd", [a, b], 4)
    count = a.type.count // 2
    wide = ir.VectorType(INT, count)
    even, odd = (
        [builder.sext(take_lanes(builder, side, start, count, 2), wide) for side in (a, b)]
        for start in (0, 1)
    )
    return builder.add(builder.mul(*even), builder.mul(*odd))


def _call_in_pieces(
    builder: ir.IRBuilder, name: str, values: list[ir.Value], n_lanes: int
) -> ir.Value:
    """int32 lanes from an intrinsic that makes ``n_lanes`` of them at a time."""
    width = max(value.type.count * value.type.element.width for value in values)
    n_calls, vectors = width // (32 * n_lanes), []
    for i in range(n_calls):
        counts = [value.type.count // n_calls for value in values]
        slices = [take_lanes(builder, v, i * n, n) for v, n in zip(values, counts, strict=True)]
        vectors.append(call(builder, name, ir.VectorType(INT, n_lanes), slices))
    return join_all(builder, vectors)


def join_all(builder: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    """Vectors of the same type, as many as a power of two, as a single vector."""
    while len(vectors) > 1:
        vectors = [join(builder, *vectors[i : i + 2]) for i in range(0, len(vectors), 2)]
    return vectors[0]
