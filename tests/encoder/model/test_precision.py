from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.encoder.model import precision

AMD, INTEL = "AuthenticAMD", "GenuineIntel"


@pytest.mark.parametrize(
    ("vendor", "flags", "is_fast"),
    [
        (AMD, "fpu avx512f avx512_bf16", True),
        (INTEL, "fpu avx512f avx512_bf16", False),
        (INTEL, "fpu avx512f avx512_bf16 amx_tile amx_bf16", True),
        (AMD, "fpu avx2", False),
        (INTEL, "fpu avx512f amx_bf16x", False),
    ],
)
def test_auto_takes_bfloat16_where_its_products_are_the_faster_ones(
    vendor: str, flags: str, is_fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbogomips\t: 4600.00\n\n"
    other = core.replace(flags, "none").replace(vendor, "nobody")
    (tmp_path / "cpuinfo").write_text(core + other)
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "cpuinfo")
    assert precision.is_bfloat16_fast("cpu") == is_fast
    assert precision.resolve_dtype("auto", "cpu") == ("bfloat16" if is_fast else "float32")
    assert precision.resolve_dtype("float16", "cpu") == "float16"


def test_auto_is_float32_where_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "missing")
    assert precision.resolve_dtype("auto", "cpu") == "float32"
    assert precision.resolve_dtype("auto", "meta") == "float32"
