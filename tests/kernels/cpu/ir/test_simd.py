from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from llvmlite import binding, ir
from numba import int16, types, uint64
from numba.core.registry import cpu_target

from colmodern.kernels.cpu.ir import dots, simd, vectors
from colmodern.kernels.cpu.ir.vectors import ALL, lanes_of, masks_of
from colmodern.kernels.reference.arithmetic import fused

ENDS = [-32_768, -32_767, -1, 0, 1, 32_767]
MASKS = [np.uint16(0xFFFF), ALL]
lanes_of_16 = npst.arrays(
    np.int16, 32, elements=st.one_of(st.sampled_from(ENDS), st.integers(-32_768, 32_767))
)
lanes_of_float = npst.arrays(np.float32, 32, elements=st.floats(-1e6, 1e6, width=32))
each_width = pytest.mark.parametrize("mask", MASKS, ids=["16 lanes", "32 lanes"])


def lanes_in(mask: np.unsignedinteger) -> int:
    return 8 * mask.itemsize


@pytest.mark.parametrize(
    ("n_tokens", "expected"),
    [
        (1, np.array([1], np.uint16)),
        (16, np.array([0xFFFF], np.uint16)),
        (17, np.array([0x1FFFF], np.uint32)),
        (64, np.array([0xFFFFFFFF, 0xFFFFFFFF], np.uint32)),
        (65, np.array([0xFFFFFFFF, 0xFFFFFFFF, 1], np.uint32)),
    ],
)
def test_masks_have_a_bit_for_each_token(n_tokens: int, expected: np.ndarray) -> None:
    found = masks_of(n_tokens)
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()
    assert lanes_of(found) == lanes_in(expected[0])


def test_a_mask_of_another_type_is_refused() -> None:
    @numba.njit
    def splat(mask: Any) -> Any:
        return simd.total(simd.splat_i16(np.int16(1), mask))

    assert [splat(mask) for mask in MASKS] == [16, 32]
    with pytest.raises(numba.TypingError):
        splat(np.uint64(7))


@numba.njit
def integer_operations(a: Any, b: Any, scalar: Any, bits: Any, mask: Any, out: Any) -> Any:
    x, y = simd.load_i16(uint64(a.ctypes.data), mask), simd.load_i16(uint64(b.ctypes.data), mask)
    to, row = uint64(out.ctypes.data), uint64(2) * simd.n_lanes(mask)
    simd.store_i16(to, simd.add_i16(x, y))
    simd.store_i16(to + row, simd.add_saturated(x, y))
    simd.store_i16(to + row * 2, simd.subtract_saturated(x, y))
    simd.store_i16(to + row * 3, simd.multiply_high(x, y))
    simd.store_i16(to + row * 4, simd.maximum_i16(x, y))
    simd.store_i16(to + row * 5, simd.splat_i16(scalar, mask))
    simd.store_i16(to + row * 6, simd.shift_left(x, int16(bits)))
    simd.store_i16(to + row * 7, simd.load_i8(uint64(a.ctypes.data), mask))
    simd.store_i16_as_i8(to + row * 8, x)
    return simd.lanes_above(x, y), simd.total(x)


@each_width
@given(lanes_of_16, lanes_of_16, st.integers(-32_768, 32_767), st.integers(0, 8))
@settings(max_examples=60)
def test_int16_operations(
    mask: np.unsignedinteger, a: np.ndarray, b: np.ndarray, scalar: int, bits: int
) -> None:
    n = lanes_in(mask)
    a, b, out = a[:n], b[:n], np.zeros((9, n), np.int16)
    above, total = integer_operations(a, b, np.int16(scalar), bits, mask, out)
    x, y = a.astype(int), b.astype(int)
    expected = [
        (x + y).astype(np.int16),
        np.clip(x + y, -32_768, 32_767),
        np.clip(x - y, -32_768, 32_767),
        (x * y) // 65_536,
        np.maximum(x, y),
        np.full(n, scalar),
        (x << bits).astype(np.int16),
        a.view(np.int8)[:n],
    ]
    np.testing.assert_array_equal(out[:8], expected)
    np.testing.assert_array_equal(out[8].view(np.int8)[:n], a.astype(np.int8))
    assert above == sum(1 << i for i in range(n) if x[i] > y[i])
    assert total == x.sum()


@numba.njit
def float_operations(
    a: Any, b: Any, c: Any, mask: Any, floats: Any, integers: Any, shorts: Any
) -> Any:
    x, y = simd.load_f32(uint64(a.ctypes.data), mask), simd.load_f32(uint64(b.ctypes.data), mask)
    z = simd.load_f32(uint64(c.ctypes.data), mask)
    to, row = uint64(floats.ctypes.data), uint64(4) * simd.n_lanes(mask)
    simd.store_f32(to, simd.multiply_f32(x, y))
    simd.store_f32(to + row, simd.subtract_f32(x, y))
    simd.store_f32(to + row * 2, simd.multiply_add(x, y, z))
    simd.store_f32(to + row * 3, simd.maximum_f32(x, y))
    whole = simd.round_f32(x)
    simd.store_f32(to + row * 4, simd.to_f32(whole))
    to = uint64(integers.ctypes.data)
    simd.store_i32(to, whole)
    chosen = simd.choose(x, y, whole, simd.splat_i32(np.int32(7), mask))
    simd.store_i32(to + row, chosen)
    simd.store_i16(uint64(shorts.ctypes.data), simd.narrow(whole))
    simd.store_low_bytes(uint64(shorts.ctypes.data) + row // uint64(2), whole)
    return simd.total_f32(x)


@each_width
@given(lanes_of_float, lanes_of_float, lanes_of_float)
@settings(max_examples=60)
def test_float32_operations(
    mask: np.unsignedinteger, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> None:
    n = lanes_in(mask)
    a, b, c = a[:n], b[:n], c[:n]
    a[:4] = [0.5, 1.5, -0.5, -1.5]  # halves go to even
    floats, integers = np.zeros((5, n), np.float32), np.zeros((2, n), np.int32)
    shorts = np.zeros((2, n), np.int16)
    total = float_operations(a, b, c, mask, floats, integers, shorts)
    whole = np.rint(a).astype(np.int32)
    expected = [a * b, a - b, fused(a, b, c), np.maximum(a, b), np.rint(a)]
    np.testing.assert_array_equal(floats, expected)
    np.testing.assert_array_equal(integers, [whole, np.where(a > b, whole, 7)])
    np.testing.assert_array_equal(shorts[0], np.clip(whole, -32_768, 32_767))
    np.testing.assert_array_equal(shorts[1].view(np.int8)[:n], whole.astype(np.int8))
    halves = a
    while len(halves) > 1:
        halves = halves[: len(halves) // 2] + halves[len(halves) // 2 :]
    assert np.float32(total) == halves[0]


@numba.njit
def widen_halves(halves: Any, lanes: Any, one_by_one: Any) -> None:
    for at in range(0, len(halves), 32):
        row = simd.load_f16(uint64(halves.ctypes.data) + uint64(at * 2), ALL)
        simd.store_f32(uint64(lanes.ctypes.data) + uint64(at * 4), row)
    for at in range(len(halves)):
        one_by_one[at] = simd.scalar_f16(uint64(halves.ctypes.data) + uint64(at * 2))


def test_every_half_float_is_widened_exactly() -> None:
    bits = np.arange(1 << 16).astype(np.uint16)
    lanes, one_by_one = np.empty(1 << 16, np.float32), np.empty(1 << 16, np.float32)
    widen_halves(bits, lanes, one_by_one)
    expected = bits.view(np.float16).astype(np.float32)
    for found in (lanes, one_by_one):
        np.testing.assert_array_equal(found, expected)  # NaN equals NaN here
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def dots_with(features: list[str], *, is_x86: bool) -> Any:
    """The portable way of add_dots_of_4, as a CPU with these features takes it."""

    @vectors.operation(vectors.I32, vectors.I32, types.uintp, types.uintp)
    def add_dots(builder: Any, before: Any, lanes: Any, scalars: Any) -> Any:
        many = vectors.load(builder, lanes, ir.VectorType(ir.IntType(8), 4 * before.type.count), 1)
        word = vectors.load(builder, scalars, ir.IntType(32), 1)
        one = builder.bitcast(vectors.splat(builder, word, before.type), many.type)
        triple = builder.module.triple
        builder.module.triple = triple if is_x86 else "any"
        sums = dots._portable_dots(builder, features, before, many, one)
        builder.module.triple = triple
        return sums

    return add_dots


BY_FEATURE = {
    "sse2": ([], True),
    "avx2": (["+avx2"], True),
    "avx512bw": (["+avx2", "+avx512bw"], True),
    "others": ([], False),
    "this": None,
}


@each_width
@pytest.mark.parametrize("name", list(BY_FEATURE))
def test_dots_of_four_bytes(name: str, mask: np.unsignedinteger) -> None:
    how = BY_FEATURE[name]
    if how and not set(how[0]) <= set(features_here()):
        pytest.skip(f"this CPU is without {how[0]}")
    if how and how[1] and not is_x86():
        pytest.skip("its instructions are those of x86")
    add_dots = dots_with(how[0], is_x86=how[1]) if how else dots.add_dots_of_4

    @numba.njit
    def add(start: Any, lanes: Any, scalars: Any, mask: Any, out: Any) -> None:
        sums = add_dots(
            simd.splat_i32(start, mask), uint64(lanes.ctypes.data), uint64(scalars.ctypes.data)
        )
        simd.store_i32(uint64(out.ctypes.data), sums)

    n, rng = lanes_in(mask), np.random.default_rng(1)
    for turn in range(50):
        lanes = rng.integers(0, 256, (n, 4)).astype(np.uint8)
        scalars = rng.integers(-128, 128, 4).astype(np.int8)
        if turn < 4:
            lanes[:], scalars[:] = 255 * (turn % 2), (-128, 127)[turn // 2]
        out = np.zeros(n, np.int32)
        add(np.int32(-5 * turn), lanes, scalars, mask, out)
        np.testing.assert_array_equal(out, lanes.astype(int) @ scalars.astype(int) - 5 * turn)
    assembly = "".join(add.inspect_asm().values())
    n_dots = assembly.count("pmaddwd") + assembly.count("vpdpwssd")  # with its sum
    if how and how[1]:
        # LLVM may join the narrow ones of older CPUs into wider ones of this
        assert n / 8 <= n_dots <= n / {"sse2": 2, "avx2": 4, "avx512bw": 8}[name]
    elif name == "this" and is_x86():
        assert "vpdpbusd" in assembly if "+avx512vnni" in features_here() else n_dots


@each_width
@pytest.mark.parametrize("name", ["avx2", "avx512bw", "this"])
def test_dots_of_four_weights(
    name: str, mask: np.unsignedinteger, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = BY_FEATURE[name]
    if how is not None:
        if not is_x86() or not set(how[0]) <= set(features_here()):
            pytest.skip(f"this CPU is without {how[0]}")
        monkeypatch.setattr(dots, "_features", lambda: how[0])

    @numba.njit
    def add(start: Any, lanes: Any, weights: Any, mask: Any, out: Any) -> None:
        sums = dots.add_weighted_4(
            simd.splat_i32(start, mask), uint64(lanes.ctypes.data), uint64(weights.ctypes.data)
        )
        simd.store_i32(uint64(out.ctypes.data), sums)

    n, rng = lanes_in(mask), np.random.default_rng(1)
    for turn in range(30):
        lanes = rng.integers(-128, 128, (n, 4)).astype(np.int8)
        weights = rng.integers(0, 256, 4).astype(np.uint8)
        if turn < 2:
            lanes[:], weights[:] = (-128, 127)[turn], 255
        out = np.zeros(n, np.int32)
        add(np.int32(-5 * turn), lanes, weights, mask, out)
        np.testing.assert_array_equal(out, lanes.astype(int) @ weights.astype(int) - 5 * turn)


UNPACKS = {64: dots.unpack_64, 16: dots.unpack_16, 4: dots.unpack_4}


@pytest.mark.parametrize("n_bytes", list(UNPACKS))
@pytest.mark.parametrize("features", [["+ssse3"], ["+avx2"], ["+avx512bw"], [], None], ids=str)
def test_unpacked_weights(
    features: list[str] | None, n_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if features is not None:
        if not is_x86() or not set(features) <= set(features_here()):
            pytest.skip(f"this CPU is without {features}")
        monkeypatch.setattr(dots, "_features", lambda: features)
    unpack = UNPACKS[n_bytes]

    @numba.njit
    def write(codes: Any, weights: Any, out: Any) -> None:
        to = uint64(out.ctypes.data)
        unpack(
            uint64(codes.ctypes.data),
            uint64(weights.ctypes.data),
            to,
            to + uint64(out.shape[1]),
        )

    rng = np.random.default_rng(1)
    for _ in range(20):
        codes, weights = (rng.integers(0, 256, size).astype(np.uint8) for size in (n_bytes, 16))
        out = np.zeros((2, n_bytes), np.uint8)
        write(codes, weights, out)
        np.testing.assert_array_equal(out, weights[np.stack([codes & 15, codes >> 4])])


def features_here() -> list[str]:
    return cpu_target.target_context.codegen()._tm_features.split(",")


def is_x86() -> bool:
    return binding.get_process_triple().startswith("x86_64")
