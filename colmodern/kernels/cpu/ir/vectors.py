"""Vectors as values inside numba functions: their types, and how operations on them are made.

A vector has 16 or 32 lanes; a mask says how many by its type, uint16 or uint32, and which of them
are in use by its bits. What makes a vector out of memory or a number takes a mask, so vector code is
written once and compiled for both widths. The functions around it are compiled once: they choose by
the number of lanes which of the two to call. ``simd.py`` and ``dots.py`` are the operations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.datamodel import DataModelManager, PrimitiveModel
from numba.extending import intrinsic, register_model

from colmodern.kernels.types import Masks

LANES = 32
FEW_LANES = 16
ALL = np.uint32(0xFFFFFFFF)  # the mask of 32 lanes that are all in use

BYTE, SHORT, INT = (ir.IntType(bits) for bits in (8, 16, 32))
FLOAT = ir.FloatType()
NumbaType: TypeAlias = types.Type
Family: TypeAlias = dict[int, NumbaType]  # number of lanes -> numba type
Emit: TypeAlias = Callable[..., ir.Value]
Operation: TypeAlias = Callable[..., Any]  # what compiled code calls
MASK = {FEW_LANES: types.uint16, LANES: types.uint32}


class _Vector(types.Type):  # type: ignore[misc]
    """A numba type whose value is one LLVM vector."""

    def __init__(self, name: str, element: ir.Type, n_lanes: int) -> None:
        super().__init__(name=f"colmodern_{name}x{n_lanes}")
        self.llvm = ir.VectorType(element, n_lanes)
        self.n_lanes = n_lanes


@register_model(_Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: DataModelManager, numba_type: _Vector) -> None:
        super().__init__(manager, numba_type, numba_type.llvm)


def _family(name: str, element: ir.Type) -> Family:
    return {n_lanes: _Vector(name, element, n_lanes) for n_lanes in MASK}


I16 = _family("i16", SHORT)
I32 = _family("i32", INT)
F32 = _family("f32", FLOAT)


def masks_of(n_tokens: int) -> Masks:
    """(n_blocks,) masks of the blocks that hold so many tokens; 16 lanes if a single block is enough."""
    n_lanes, dtype = (LANES, np.uint32) if n_tokens > FEW_LANES else (FEW_LANES, np.uint16)
    masks: Masks = np.full(-(-n_tokens // n_lanes), (1 << n_lanes) - 1, dtype)
    if n_tokens % n_lanes:
        masks[-1] = (1 << n_tokens % n_lanes) - 1
    return masks


def lanes_of(masks: Masks) -> int:
    """Lanes of a block with such a mask."""
    return 8 * masks.itemsize


def operation(
    result: NumbaType | Family, *arguments: NumbaType | Family
) -> Callable[[Callable[..., ir.Value]], Operation]:
    """Make an intrinsic from a function that emits its instructions.

    Args:
        result: Numba type of the result; a family stands for its member with as many lanes as the
            first argument of a family has.
        *arguments: Numba types, or families, of the arguments.
    """

    def make(emit: Callable[..., ir.Value]) -> Operation:
        def typed(context: object, *argument_types: NumbaType) -> tuple[NumbaType, Emit] | None:
            n_lanes = _count_lanes(argument_types, arguments)
            if n_lanes == 0:
                return None  # numba then says which argument types do not fit

            def generate(
                context: BaseContext,
                builder: ir.IRBuilder,
                signature: object,
                values: list[ir.Value],
            ) -> ir.Value:
                emitted = emit(builder, *values)
                return context.get_dummy_value() if emitted is None else emitted

            kinds = [k[n_lanes] if isinstance(k, dict) else k for k in (result, *arguments)]
            return kinds[0](*kinds[1:]), generate

        # numba asks an intrinsic for the names of its parameters
        names = ["context", *list(inspect.signature(emit).parameters)[1:]]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        typed.__signature__ = signature  # type: ignore[attr-defined]
        typed.__name__, typed.__doc__ = emit.__name__, emit.__doc__
        intrinsic_of_types: Operation = intrinsic(typed)
        return intrinsic_of_types

    return make


def _count_lanes(
    argument_types: tuple[NumbaType, ...], arguments: tuple[NumbaType | Family, ...]
) -> int:
    """Lanes of the first argument of a family; 0 when it is of no such type."""
    for kind, family in zip(argument_types, arguments, strict=True):
        if isinstance(family, dict):
            return next((n_lanes for n_lanes, member in family.items() if member == kind), 0)
    return LANES


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """A number in every lane of an LLVM vector type."""
    return ir.Constant(vector, [value] * vector.count)


def load(builder: ir.IRBuilder, address: ir.Value, pointee: ir.Type, align: int) -> ir.Value:
    """A value of an LLVM type from an address that is a multiple of ``align`` bytes."""
    value = builder.load(builder.inttoptr(address, pointee.as_pointer()))
    value.align = align
    return value


def store(builder: ir.IRBuilder, address: ir.Value, value: ir.Value, align: int) -> None:
    """Write a value to an address."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = align


def splat(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
    """A scalar in every lane of an LLVM vector type."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, nothing, constant(ir.VectorType(INT, vector.count), 0))


def take_lanes(
    builder: ir.IRBuilder, value: ir.Value, start: int, count: int, step: int = 1
) -> ir.Value:
    """``count`` lanes of a vector, every ``step``-th from ``start``."""
    lanes = [start + step * i for i in range(count)]
    mask = ir.Constant(ir.VectorType(INT, count), lanes)
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def join(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    """Two vectors of the same type as a single vector."""
    count = 2 * low.type.count
    mask = ir.Constant(ir.VectorType(INT, count), list(range(count)))
    return builder.shuffle_vector(low, high, mask)


def call(builder: ir.IRBuilder, name: str, result: ir.Type, values: list[ir.Value]) -> ir.Value:
    """A function of LLVM or the CPU, by name."""
    function_type = ir.FunctionType(result, [value.type for value in values])
    function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
    return builder.call(function, values)


def call_on_vectors(builder: ir.IRBuilder, name: str, values: list[ir.Value]) -> ir.Value:
    """A function of LLVM whose arguments and result are vectors of the same type."""
    vector = values[0].type
    letter = "f" if isinstance(vector.element, ir.FloatType) else "i"
    bits = 32 if letter == "f" else vector.element.width
    return call(builder, f"{name}.v{vector.count}{letter}{bits}", vector, values)


def vector_of(element: ir.Type, mask: ir.Value) -> ir.VectorType:
    """The LLVM type of as many elements as the mask, an LLVM value, has bits."""
    return ir.VectorType(element, mask.type.width)


def like(element: ir.Type, value: ir.Value) -> ir.VectorType:
    """The LLVM type of as many elements as the vector ``value`` has."""
    return ir.VectorType(element, value.type.count)
