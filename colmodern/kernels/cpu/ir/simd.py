"""Vector operations inside numba functions, written as LLVM vector IR.

LLVM lowers a vector to what the CPU has (AVX-512, AVX2, NEON, or plain loops), so one
kernel gives the same integers everywhere. Memory is named by raw address
(``array.ctypes.data``). Lanes hold query tokens, or document tokens that are being encoded.
int16 holds scores of candidates, int32 products of bytes, float32 encodings and tables.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from colmodern.kernels.cpu.ir.vectors import (
    BYTE,
    F32,
    FLOAT,
    I16,
    I32,
    INT,
    MASK,
    SHORT,
    Operation,
    call,
    call_on_vectors,
    constant,
    join,
    like,
    load,
    operation,
    splat,
    store,
    take_lanes,
    vector_of,
)


@operation(types.void, types.uintp)
def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Ask for a cache line that will be read soon."""
    pointer = builder.inttoptr(address, BYTE.as_pointer())
    hints = [ir.Constant(INT, hint) for hint in (0, 3, 1)]  # to read, to keep, data
    call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *hints])


@operation(types.uint64, MASK)
def n_lanes(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """How many lanes there are."""
    return ir.Constant(ir.IntType(64), mask.type.width)


@operation(I16, types.uintp, MASK)
def load_i16(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value) -> ir.Value:
    """As many int16 as there are lanes."""
    return load(builder, address, vector_of(SHORT, mask), 2)


@operation(I16, types.uintp, MASK)
def load_i8(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value) -> ir.Value:
    """int8, widened to int16."""
    return builder.sext(load(builder, address, vector_of(BYTE, mask), 1), vector_of(SHORT, mask))


@operation(types.void, types.uintp, I16)
def store_i16(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write int16."""
    store(builder, address, value, 2)


@operation(I16, types.int16, MASK)
def splat_i16(builder: ir.IRBuilder, scalar: ir.Value, mask: ir.Value) -> ir.Value:
    """One int16 in every lane."""
    return splat(builder, scalar, vector_of(SHORT, mask))


@operation(I16, I16, I16)
def add_i16(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Sum that wraps, for sums that are known to fit."""
    return builder.add(a, b)


@operation(I16, I16, I16)
def add_saturated(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Sum that stays at the ends of int16."""
    return call_on_vectors(builder, "llvm.sadd.sat", [a, b])


@operation(I16, I16, I16)
def subtract_saturated(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Difference that stays at the ends of int16."""
    return call_on_vectors(builder, "llvm.ssub.sat", [a, b])


@operation(I16, I16, types.int16)
def shift_left(builder: ir.IRBuilder, a: ir.Value, bits: ir.Value) -> ir.Value:
    """Multiply by ``2**bits``, for results that are known to fit."""
    return builder.shl(a, splat(builder, bits, a.type))


@operation(I16, I16, I16)
def multiply_high(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """(a * b) >> 16."""
    wide = like(INT, a)
    product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    return builder.trunc(builder.ashr(product, constant(wide, 16)), a.type)


@operation(I16, I16, I16)
def maximum_i16(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger value in each lane."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@operation(MASK, I16, I16)
def lanes_above(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Bit i says whether a[i] > b[i]."""
    return builder.bitcast(builder.icmp_signed(">", a, b), ir.IntType(a.type.count))


@operation(types.int32, I16)
def total(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """Sum of all lanes."""
    wide = builder.sext(a, like(INT, a))
    return call(builder, f"llvm.vector.reduce.add.v{wide.type.count}i32", INT, [wide])


@operation(I32, types.int32, MASK)
def splat_i32(builder: ir.IRBuilder, scalar: ir.Value, mask: ir.Value) -> ir.Value:
    """One int32 in every lane."""
    return splat(builder, scalar, vector_of(INT, mask))


@operation(I32, types.uintp, MASK)
def load_i32(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value) -> ir.Value:
    """As many int32 as there are lanes."""
    return load(builder, address, vector_of(INT, mask), 4)


@operation(I32, I32, I32)
def add_i32(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Sum that wraps, for sums that are known to fit."""
    return builder.add(a, b)


@operation(types.void, types.uintp, I32)
def store_i32(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write int32."""
    store(builder, address, value, 4)


@operation(types.void, types.uintp, I32)
def store_low_bytes(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write the lowest byte of each lane."""
    store(builder, address, builder.trunc(value, like(BYTE, value)), 1)


@operation(F32, types.float32, MASK)
def splat_f32(builder: ir.IRBuilder, scalar: ir.Value, mask: ir.Value) -> ir.Value:
    """One float32 in every lane."""
    return splat(builder, scalar, vector_of(FLOAT, mask))


@operation(F32, types.uintp, MASK)
def load_f32(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value) -> ir.Value:
    """As many float32 as there are lanes."""
    return load(builder, address, vector_of(FLOAT, mask), 4)


@operation(types.void, types.uintp, F32)
def store_f32(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write float32."""
    store(builder, address, value, 4)


@operation(F32, I32)
def to_f32(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """int32 as float32."""
    return builder.sitofp(a, like(FLOAT, a))


@operation(F32, F32, F32)
def multiply_f32(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Product, rounded once."""
    return builder.fmul(a, b)


@operation(F32, F32, F32)
def add_f32(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Sum, rounded once."""
    return builder.fadd(a, b)


@operation(F32, F32, F32)
def subtract_f32(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Difference, rounded once."""
    return builder.fsub(a, b)


@operation(F32, F32, F32, F32)
def multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Fused ``a * b + c``."""
    return call_on_vectors(builder, "llvm.fma", [a, b, c])


@operation(F32, F32, F32)
def maximum_f32(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger value in each lane."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@operation(F32, F32, F32)
def divide_f32(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Quotient, rounded once."""
    return builder.fdiv(a, b)


@operation(F32, F32, F32, F32, F32)
def choose_f32(
    builder: ir.IRBuilder, a: ir.Value, b: ir.Value, if_above: ir.Value, otherwise: ir.Value
) -> ir.Value:
    """``if_above`` in the lanes where a > b."""
    return builder.select(builder.fcmp_ordered(">", a, b), if_above, otherwise)


@operation(I32, F32, F32, I32, I32)
def choose(
    builder: ir.IRBuilder, a: ir.Value, b: ir.Value, if_above: ir.Value, otherwise: ir.Value
) -> ir.Value:
    """``if_above`` in the lanes where a > b."""
    return builder.select(builder.fcmp_ordered(">", a, b), if_above, otherwise)


@operation(I32, F32)
def round_f32(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """Nearest int32, halves to even."""
    return builder.fptosi(call_on_vectors(builder, "llvm.rint", [a]), like(INT, a))


@operation(I16, I32)
def narrow(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """int32 as int16, staying at its ends."""
    low, high = constant(a.type, -(1 << 15)), constant(a.type, (1 << 15) - 1)
    above = builder.select(builder.icmp_signed(">", a, low), a, low)
    within = builder.select(builder.icmp_signed("<", above, high), above, high)
    return builder.trunc(within, like(SHORT, a))


@operation(types.void, types.uintp, I16)
def store_i16_as_i8(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write the lowest byte of each lane."""
    store(builder, address, builder.trunc(value, like(BYTE, value)), 1)


@operation(types.float32, F32)
def total_f32(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """Sum of all lanes, always in the same order: halves onto halves."""
    while a.type.count > 1:
        half = a.type.count // 2
        a = builder.fadd(take_lanes(builder, a, 0, half), take_lanes(builder, a, half, half))
    return builder.extract_element(a, ir.Constant(INT, 0))


def _from_half(builder: ir.IRBuilder, half: ir.Value, wide: ir.Type, result: ir.Type) -> ir.Value:
    """IEEE half floats, widened through integers of type ``wide``, as float32."""
    bits = builder.zext(half, wide)
    sign, rest, sixteen, thirteen, top, infinite, bias = (
        ir.Constant(kind, [value] * wide.count if isinstance(wide, ir.VectorType) else value)
        for kind, value in (
            (wide, 0x8000), (wide, 0x7FFF), (wide, 16), (wide, 13), (wide, 0x7C00),
            (wide, 0x7F800000), (result, 2.0**112)
        )
    )  # fmt: skip
    # the exponents' biases differ by 112: one product mends normal and subnormal numbers alike
    scaled = builder.bitcast(builder.shl(builder.and_(bits, rest), thirteen), result)
    value = builder.bitcast(builder.fmul(scaled, bias), wide)
    # the product makes large numbers of infinities and NaN
    is_special = builder.icmp_unsigned("==", builder.and_(bits, top), top)
    value = builder.or_(value, builder.and_(builder.sext(is_special, wide), infinite))
    return builder.bitcast(
        builder.or_(value, builder.shl(builder.and_(bits, sign), sixteen)), result
    )


@operation(F32, types.uintp, MASK)
def load_f16(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value) -> ir.Value:
    """As many IEEE half floats as there are lanes, as float32."""
    half = load(builder, address, vector_of(SHORT, mask), 2)
    return _from_half(builder, half, like(INT, half), like(FLOAT, half))


@operation(F32, types.uintp, MASK)
def load_i8_as_f32(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value) -> ir.Value:
    """int8, as float32."""
    value = load(builder, address, vector_of(BYTE, mask), 1)
    return builder.sitofp(value, vector_of(FLOAT, mask))


def _load_entries(width: int) -> Operation:
    """The operation that loads codebook entries of so many dimensions."""

    def load_entries(
        builder: ir.IRBuilder, codebook: ir.Value, residual: ir.Value, mask: ir.Value
    ) -> ir.Value:
        """The codebook's entries that bytes of a residual name, one after another.

        codebook: address of (n_bytes, 256, width) float32 from the first byte's on
        """
        wide, vectors = ir.IntType(64), []
        for i in range(mask.type.width // width):
            byte_address = builder.add(residual, ir.Constant(wide, i))
            byte = builder.zext(load(builder, byte_address, BYTE, 1), wide)
            entry = builder.mul(byte, ir.Constant(wide, 4 * width))
            entry = builder.add(entry, ir.Constant(wide, 4 * width * 256 * i))
            address = builder.add(codebook, entry)
            vectors.append(load(builder, address, ir.VectorType(FLOAT, width), 4))
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [join(builder, low, high) for low, high in pairs]
        return vectors[0]

    return operation(F32, types.uintp, types.uintp, MASK)(load_entries)


load_entries_of_1 = _load_entries(1)
load_entries_of_2 = _load_entries(2)
load_entries_of_4 = _load_entries(4)
load_entries_of_8 = _load_entries(8)


@operation(types.float32, types.uintp)
def scalar_f16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One IEEE half float as float32."""
    return _from_half(builder, load(builder, address, SHORT, 2), INT, FLOAT)


@operation(types.float32, types.uintp)
def scalar_f32(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One float32."""
    return load(builder, address, FLOAT, 4)


@operation(types.uint64, types.uintp)
def scalar_u8(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One byte."""
    return builder.zext(load(builder, address, BYTE, 1), ir.IntType(64))


@operation(types.int32, types.uintp, types.uintp)
def sum_of_8_entries(builder: ir.IRBuilder, table: ir.Value, entries: ir.Value) -> ir.Value:
    """Sum of the numbers that eight bytes name; table: address of (8, 256) int16."""
    wide, total = ir.IntType(64), ir.Constant(INT, 0)
    word = load(builder, entries, wide, 1)
    for i in range(8):
        byte = builder.and_(builder.lshr(word, ir.Constant(wide, 8 * i)), ir.Constant(wide, 255))
        offset = builder.add(builder.shl(byte, ir.Constant(wide, 1)), ir.Constant(wide, 512 * i))
        number = load(builder, builder.add(table, offset), SHORT, 2)
        total = builder.add(total, builder.sext(number, INT))
    return total


@operation(types.int32, types.uintp)
def scalar_i16(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """One int16."""
    return builder.sext(load(builder, address, SHORT, 2), INT)


@operation(types.uint32, types.uintp)
def nonzero_of_32(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Bit i says whether the i-th of 32 int32 is not 0."""
    numbers = load(builder, address, ir.VectorType(INT, 32), 4)
    return builder.bitcast(builder.icmp_signed("!=", numbers, constant(numbers.type, 0)), INT)


@operation(types.uint32, types.uint32)
def lowest_bit(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """Number of the lowest bit that is set, of at least one."""
    return call(builder, "llvm.cttz.i32", INT, [bits, ir.Constant(ir.IntType(1), 1)])
