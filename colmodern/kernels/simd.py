"""Vector values inside numba functions: 32 lanes each, written as LLVM vector IR.

LLVM lowers a vector to what the processor has (AVX-512, AVX2, NEON, or plain loops), so one
kernel gives the same integers everywhere. Memory is named by raw address
(``array.ctypes.data``). Lanes hold query tokens, or document tokens that are being encoded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model

LANES = 32

_I8, _I16, _I32 = (ir.IntType(bits) for bits in (8, 16, 32))


class _Vector(types.Type):  # type: ignore[misc]
    """A numba type whose value is one LLVM vector of 32 lanes."""

    def __init__(self, name: str, element: Any) -> None:
        super().__init__(name=f"colmodern_{name}x{LANES}")
        self.llvm = ir.VectorType(element, LANES)


@register_model(_Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: _Vector) -> None:
        super().__init__(manager, numba_type, numba_type.llvm)


I16 = _Vector("i16", _I16)
I32 = _Vector("i32", _I32)
F32 = _Vector("f32", ir.FloatType())


def _operation(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of fixed types from a function that emits its instructions."""

    def make(emit: Callable[..., Any]) -> Any:
        def typed(context: Any, *given: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                emitted = emit(builder, *values)
                return context.get_dummy_value() if emitted is None else emitted

            return result(*arguments), generate

        # numba asks an intrinsic for the names of its parameters
        names = ["context", *list(inspect.signature(emit).parameters)[1:]]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        typed.__signature__ = signature  # type: ignore[attr-defined]
        typed.__name__, typed.__doc__ = emit.__name__, emit.__doc__
        return intrinsic(typed)

    return make


def _constant(vector: Any, value: Any) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _load(builder: Any, address: Any, pointee: Any, align: int) -> Any:
    value = builder.load(builder.inttoptr(address, pointee.as_pointer()))
    value.align = align
    return value


def _store(builder: Any, address: Any, value: Any, align: int) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = align


def _splat(builder: Any, scalar: Any, vector: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, _constant(ir.VectorType(_I32, vector.count), 0))


@_operation(types.void, types.uintp)
def prefetch(builder: Any, address: Any) -> None:
    """Ask for a cache line that will be read soon."""
    pointer = builder.inttoptr(address, _I8.as_pointer())
    hints = [ir.Constant(_I32, hint) for hint in (0, 3, 1)]  # to read, to keep, data
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *hints])


def _slice(builder: Any, value: Any, start: int, count: int, step: int = 1) -> Any:
    lanes = [start + step * i for i in range(count)]
    mask = ir.Constant(ir.VectorType(_I32, count), lanes)
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _join(builder: Any, low: Any, high: Any) -> Any:
    count = 2 * low.type.count
    mask = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
    return builder.shuffle_vector(low, high, mask)


def _call(builder: Any, name: str, result: Any, values: list[Any]) -> Any:
    function_type = ir.FunctionType(result, [value.type for value in values])
    function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
    return builder.call(function, values)


# ------------------------------------------------------------------ int16: scores of candidates


@_operation(I16, types.uintp)
def load_i16(builder: Any, address: Any) -> Any:
    """32 int16."""
    return _load(builder, address, I16.llvm, 2)


@_operation(I16, types.uintp)
def load_i8(builder: Any, address: Any) -> Any:
    """32 int8, widened to int16."""
    return builder.sext(_load(builder, address, ir.VectorType(_I8, LANES), 1), I16.llvm)


@_operation(types.void, types.uintp, I16)
def store_i16(builder: Any, address: Any, value: Any) -> None:
    """Write 32 int16."""
    _store(builder, address, value, 2)


@_operation(I16, types.int16)
def splat_i16(builder: Any, scalar: Any) -> Any:
    """One int16 in every lane."""
    return _splat(builder, scalar, I16.llvm)


@_operation(I16, I16, I16)
def add_i16(builder: Any, a: Any, b: Any) -> Any:
    """Sum that wraps; for sums that are known to fit."""
    return builder.add(a, b)


@_operation(I16, I16, I16)
def add_saturated(builder: Any, a: Any, b: Any) -> Any:
    """Sum that stays at the ends of int16."""
    return _call(builder, "llvm.sadd.sat.v32i16", I16.llvm, [a, b])


@_operation(I16, I16, I16)
def subtract_saturated(builder: Any, a: Any, b: Any) -> Any:
    """Difference that stays at the ends of int16."""
    return _call(builder, "llvm.ssub.sat.v32i16", I16.llvm, [a, b])


@_operation(I16, I16, types.int16)
def shift_left(builder: Any, a: Any, bits: Any) -> Any:
    """a * 2**bits, for results that are known to fit."""
    return builder.shl(a, _splat(builder, bits, I16.llvm))


@_operation(I16, I16, I16)
def multiply_high(builder: Any, a: Any, b: Any) -> Any:
    """(a * b) >> 16."""
    product = builder.mul(builder.sext(a, I32.llvm), builder.sext(b, I32.llvm))
    return builder.trunc(builder.ashr(product, _constant(I32.llvm, 16)), I16.llvm)


@_operation(I16, I16, I16)
def maximum_i16(builder: Any, a: Any, b: Any) -> Any:
    """The larger one in each lane."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@_operation(types.uint32, I16, I16)
def lanes_above(builder: Any, a: Any, b: Any) -> Any:
    """Bit i says whether a[i] > b[i]."""
    return builder.bitcast(builder.icmp_signed(">", a, b), _I32)


@_operation(types.int32, I16)
def total(builder: Any, a: Any) -> Any:
    """Sum of all lanes."""
    wide = builder.sext(a, I32.llvm)
    return _call(builder, "llvm.vector.reduce.add.v32i32", _I32, [wide])


# ------------------------------------------------------------------ int32: products of bytes


@_operation(I32, types.int32)
def splat_i32(builder: Any, scalar: Any) -> Any:
    """One int32 in every lane."""
    return _splat(builder, scalar, I32.llvm)


@_operation(types.void, types.uintp, I32)
def store_i32(builder: Any, address: Any, value: Any) -> None:
    """Write 32 int32."""
    _store(builder, address, value, 4)


@_operation(types.void, types.uintp, I32)
def store_low_bytes(builder: Any, address: Any, value: Any) -> None:
    """Write the lowest byte of each lane."""
    _store(builder, address, builder.trunc(value, ir.VectorType(_I8, LANES)), 1)


# ------------------------------------------------------------------ float32: encoding, tables


@_operation(F32, types.float32)
def splat_f32(builder: Any, scalar: Any) -> Any:
    """One float32 in every lane."""
    return _splat(builder, scalar, F32.llvm)


@_operation(F32, types.uintp)
def load_f32(builder: Any, address: Any) -> Any:
    """32 float32."""
    return _load(builder, address, F32.llvm, 4)


@_operation(types.void, types.uintp, F32)
def store_f32(builder: Any, address: Any, value: Any) -> None:
    """Write 32 float32."""
    _store(builder, address, value, 4)


@_operation(F32, I32)
def to_f32(builder: Any, a: Any) -> Any:
    """int32 as float32."""
    return builder.sitofp(a, F32.llvm)


@_operation(F32, F32, F32)
def multiply_f32(builder: Any, a: Any, b: Any) -> Any:
    """Product, rounded once."""
    return builder.fmul(a, b)


@_operation(F32, F32, F32)
def subtract_f32(builder: Any, a: Any, b: Any) -> Any:
    """Difference, rounded once."""
    return builder.fsub(a, b)


@_operation(F32, F32, F32, F32)
def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, fused."""
    return _call(builder, "llvm.fma.v32f32", F32.llvm, [a, b, c])


@_operation(F32, F32, F32)
def maximum_f32(builder: Any, a: Any, b: Any) -> Any:
    """The larger one in each lane."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@_operation(I32, F32, F32, I32, I32)
def choose(builder: Any, a: Any, b: Any, if_above: Any, otherwise: Any) -> Any:
    """``if_above`` in the lanes where a > b."""
    return builder.select(builder.fcmp_ordered(">", a, b), if_above, otherwise)


@_operation(I32, F32)
def round_f32(builder: Any, a: Any) -> Any:
    """Nearest int32, halves to even."""
    whole = _call(builder, "llvm.rint.v32f32", F32.llvm, [a])
    return builder.fptosi(whole, I32.llvm)


@_operation(I16, I32)
def narrow(builder: Any, a: Any) -> Any:
    """int32 as int16, staying at its ends."""
    low, high = _constant(I32.llvm, -(1 << 15)), _constant(I32.llvm, (1 << 15) - 1)
    above = builder.select(builder.icmp_signed(">", a, low), a, low)
    within = builder.select(builder.icmp_signed("<", above, high), above, high)
    return builder.trunc(within, I16.llvm)


@_operation(types.void, types.uintp, I16)
def store_i16_as_i8(builder: Any, address: Any, value: Any) -> None:
    """Write the lowest byte of each lane."""
    _store(builder, address, builder.trunc(value, ir.VectorType(_I8, LANES)), 1)


@_operation(types.float32, F32)
def total_f32(builder: Any, a: Any) -> Any:
    """Sum of all lanes, always in the same order: halves onto halves."""
    while a.type.count > 1:
        half = a.type.count // 2
        a = builder.fadd(_slice(builder, a, 0, half), _slice(builder, a, half, half))
    return builder.extract_element(a, ir.Constant(_I32, 0))


def _from_half(builder: Any, half: Any, wide: Any, result: Any) -> Any:
    """IEEE half floats as float32; infinities and NaN become large numbers."""
    bits = builder.zext(half, wide)
    sign, rest, sixteen, thirteen, bias = (
        ir.Constant(kind, [value] * wide.count if isinstance(wide, ir.VectorType) else value)
        for kind, value in (
            (wide, 0x8000), (wide, 0x7FFF), (wide, 16), (wide, 13), (result, 2.0**112)
        )
    )  # fmt: skip
    # the exponents' biases differ by 112: one product mends normal and subnormal numbers alike
    scaled = builder.bitcast(builder.shl(builder.and_(bits, rest), thirteen), result)
    value = builder.bitcast(builder.fmul(scaled, bias), wide)
    return builder.bitcast(
        builder.or_(value, builder.shl(builder.and_(bits, sign), sixteen)), result
    )


@_operation(F32, types.uintp)
def load_f16(builder: Any, address: Any) -> Any:
    """32 IEEE half floats as float32."""
    return _from_half(builder, _load(builder, address, I16.llvm, 2), I32.llvm, F32.llvm)


@_operation(types.float32, types.uintp)
def scalar_f16(builder: Any, address: Any) -> Any:
    """One IEEE half float as float32."""
    return _from_half(builder, _load(builder, address, _I16, 2), _I32, ir.FloatType())


@_operation(types.float32, types.uintp)
def scalar_f32(builder: Any, address: Any) -> Any:
    """One float32."""
    return _load(builder, address, ir.FloatType(), 4)


@_operation(types.uint64, types.uintp)
def scalar_u8(builder: Any, address: Any) -> Any:
    """One byte."""
    return builder.zext(_load(builder, address, _I8, 1), ir.IntType(64))
