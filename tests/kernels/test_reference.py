from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kernels.kernel_inputs import CPU_MODULES, WRITTEN, fast, parameters, slow

from colmodern.kernels.reference.arithmetic import fused

floats = st.floats(-(2.0**60), 2.0**60, width=32)


def kernels_in_python() -> set[str]:
    """Public functions of the modules; the last ones are parts of kernels."""
    names = {
        name
        for module in CPU_MODULES
        for name, value in vars(module).items()
        if hasattr(value, "py_func") and value.__module__ == module.__name__ and name[0] != "_"
    }
    return names - {
        "list_known",
        "longest_group",
        "choose_tokens",
        "choose_more_tokens",
        "append_near",
        "similarities",
        "empty_near",
        "keep_near",
        "make_weight_query",
    }


def test_every_kernel_is_in_the_table_of_tests() -> None:
    assert kernels_in_python() == set(WRITTEN)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_names_and_arguments_are_those_of_the_reference(name: str) -> None:
    assert parameters(fast(name)) == parameters(slow(name))


@given(floats, floats, floats)
@example(1 + 2**-12, 1 + 2**-12, 2.0**-60)  # float64 rounds onto a tie of float32
@example(1 + 2**-12, 1 + 2**-12, -(2.0**-60))
@example(1 + 2**-23, 1 + 2**-23, 2.0**26)
def test_fused_is_rounded_once(a: float, b: float, c: float) -> None:
    value = fused(*(np.array([x], np.float32) for x in (a, b, c)))[0]
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    away = abs(Fraction(float(value)) - exact)
    for side in (np.float32(-np.inf), np.float32(np.inf)):
        beside = np.nextafter(value, side)
        if np.isfinite(beside):
            assert away <= abs(Fraction(float(beside)) - exact)
