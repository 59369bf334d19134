"""The kernels compile for real GPUs: the interpreter does not see what the compiler refuses."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from colmodern.kernels.cuda.lanes import MOST_FLOAT32_LANES, MOST_LANES
from colmodern.kernels.cuda.launches import LAUNCHES, Launch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton has no build for this system"),
]

_SHARED = 227 * 1024  # bytes of a program on Hopper
_POINTERS = {
    "docs": "*i32", "doc_scales": "*fp32", "doc_offsets": "*i64", "out": "*fp32", "codes": "*i32",
    "gains": "*u8", "residuals": "*u8", "table": "*fp16", "codebook": "*fp16",
    "codebook_scales": "*fp32", "constants": "*fp32", "gain_step": "*fp32", "centroids": "*i8",
    "centroid_scales": "*fp32", "lows": "*fp32", "steps": "*fp32", "maxima": "*fp32",
    "minima": "*fp32", "values": "*i8", "value_scales": "*fp32", "order": "*i32", "tiles": "*i32",
    "half_norms": "*fp32", "queries": "*fp16", "doc_values": "*fp16", "sums": "*fp32",
    "addend": "*bf16", "weight": "*fp32", "bias": "*fp32", "eps": "fp32", "hidden": "*bf16",
    "columns": "*fp32", "cutoffs": "*fp32", "levels": "*fp32", "scales": "*fp32", "tries": "*fp32",
    "means": "*fp32", "qkv": "*bf16", "cosines": "*fp32", "sines": "*fp32", "positions": "*i32",
}  # fmt: skip
_CONSTANTS = {
    "DIM": 128, "WIDTH": 128, "LISTED": 0, "SCALED": False, "PRECISION": "tf32x3", "MASK": 0xFFFF,
    "BYTES": 64, "PADDED": 64, "SPAN": 2, "SHARED": True, "ADDED": True, "BIASED": True,
    "HEADS": 24, "PAIRS": 32, "PAIRED": True, "PARTS": 4,
}  # fmt: skip
_FLOAT32 = {"queries": "*fp32"}
_ROUNDED_AS_ON_THE_CPU = {
    "assign_tiles", "encode_by_weights", "encode_residuals", "mean_by_document",
}  # fmt: skip
# launch name -> program, pointers of other types
_PROGRAMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "maxsim_few": ("maxsim", "maxsim_few", {"queries": "*bf16", "doc_values": "*bf16"}),
    "maxsim_few_float32": ("maxsim", "maxsim_few", {**_FLOAT32, "doc_values": "*fp32"}),
    "maxsim_many": ("maxsim", "maxsim_many", {"queries": "*bf16", "doc_values": "*bf16"}),
    "maxsim_many_float32": ("maxsim", "maxsim_many", {**_FLOAT32, "doc_values": "*fp32"}),
    "centroid_table": ("compressed", "centroid_table", _FLOAT32),
    "table_to_bytes": ("compressed", "table_to_bytes", {"out": "*u8"}),
    "scan_codes": ("compressed", "scan_codes", {"table": "*i32"}),
    "score_tokens": ("compressed", "score_tokens", {}),
    "score_tokens_shared": ("compressed", "score_tokens", {}),
    "score_decoded": ("compressed", "score_decoded", {**_FLOAT32, "codebook": "*fp32"}),
    "assign_tiles": ("assign", "assign_tiles", {"codes": "*i64"}),
    "encode_by_weights": ("encoding", "encode_by_weights", {}),
    "encode_residuals": (
        "encoding",
        "encode_residuals",
        {"codebook": "*fp32"},
    ),
    "mean_by_document": ("encoding", "mean_by_document", {"values": "*fp32"}),
    "add_norm": ("encoder", "add_norm", {"out": "*bf16"}),
    "gelu_gate": ("encoder", "gelu_gate", {"out": "*bf16"}),
    "rotate": ("encoder", "rotate", {}),
}


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def build(
    name: str,
    launch: Launch,
    lanes: int,
    capability: int,
    *,
    types: dict[str, str] | None = None,
    **other: Any,
) -> Any:
    """The kernel compiled for a GPU that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, function, pointers = _PROGRAMS[name]
    programs = __import__(f"colmodern.kernels.cuda.programs.{module}", fromlist=[function])
    program = getattr(programs, function)
    is_listed = name in ("score_tokens", "score_decoded")
    rows = launch.n_tokens
    constants = {
        **_CONSTANTS, "LANES": lanes, "QUERIES": 1 if is_listed else max(1, rows // lanes),
        "BLOCK": launch.block, "COLUMNS": rows, "TOKENS": rows, "ROWS": rows,
        "LISTED": 2 if is_listed else 0, **other,
    }  # fmt: skip
    types = {**_POINTERS, **pointers, **(types or {})}
    signature = {
        argument: types.get(argument, "constexpr" if argument in constants else "i32")
        for argument in program.arg_names
    }
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, argument in enumerate(program.arg_names)
        if types.get(argument, "").startswith("*")
    }
    used = {argument: constants[argument] for argument in signature if argument in constants}
    source = ASTSource(fn=program, signature=signature, constexprs=used, attrs=aligned)
    options = {**launch.options, "enable_fp_fusion": name not in _ROUNDED_AS_ON_THE_CPU}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def spilled(compiled: Any, folder: Path) -> int:
    """Bytes of a thread's variables that do not stay in registers."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    (folder / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    usage = subprocess.run(
        [str(tool), "-res-usage", str(folder / "kernel.cubin")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return int(usage.split("STACK:")[1].split()[0])


@pytest.mark.parametrize("name", sorted(LAUNCHES))
def test_the_default_launch_fits_hopper_without_spilling(name: str, tmp_path: Path) -> None:
    assert not os.environ.get("TRITON_INTERPRET"), "the interpreter compiles nothing"
    is_float32 = name.endswith("float32") or name == "score_decoded"
    for lanes in (16, MOST_FLOAT32_LANES if is_float32 else MOST_LANES):
        compiled = build(name, LAUNCHES[name][0], lanes, 90)
        assert compiled.metadata.shared <= _SHARED, (name, lanes)
        assert spilled(compiled, tmp_path) == 0, (name, lanes)


@pytest.mark.parametrize("name", sorted(LAUNCHES))
def test_all_launches_compile(name: str) -> None:
    for launch in LAUNCHES[name][1:]:
        build(name, launch, 32, 90)
    build(name, LAUNCHES[name][0], 32, 80, DIM=96, PAIRED=False)


@pytest.mark.parametrize("name", ["maxsim_few", "maxsim_many"])
def test_int8_documents_compile_and_hardly_spill(name: str, tmp_path: Path) -> None:
    for suffix, queries in (("", "*fp16"), ("_float32", "*fp32")):
        full = name + suffix
        types = {"queries": queries, "doc_values": "*i8"}
        lanes = MOST_FLOAT32_LANES if suffix else MOST_LANES
        compiled = build(full, LAUNCHES[full][0], lanes, 90, types=types, SCALED=True)
        # the float32 ones score no more than the last documents
        assert spilled(compiled, tmp_path) <= (16 if suffix else 0), full


@pytest.mark.parametrize(("nbits", "span"), [(1, 8), (2, 4), (8, 1)])
def test_other_codebooks_compile(nbits: int, span: int) -> None:
    n_bytes = 128 * nbits // 8
    for name in ("score_tokens", "score_tokens_shared", "score_decoded"):
        shape = {"BYTES": n_bytes, "PADDED": n_bytes, "SPAN": span, "SHARED": False}
        build(name, LAUNCHES[name][0], 32, 90, **shape)


def test_matrix_units_do_the_products() -> None:
    """Hopper's own instructions; a slower path would be silent."""
    for name in ("maxsim_few", "maxsim_many", "score_tokens", "assign_tiles"):
        assert "wgmma" in build(name, LAUNCHES[name][0], 32, 90).asm["ptx"], name
    assert set(_PROGRAMS) == set(LAUNCHES)


@pytest.mark.parametrize("name", ["add_norm", "gelu_gate", "rotate"])
@pytest.mark.parametrize("dtype", ["*bf16", "*fp16", "*fp32"])
def test_rows_of_encoders_compile_without_spilling(name: str, dtype: str, tmp_path: Path) -> None:
    """At the widths of ModernBERT-base and -large, whose loads are of 16 bytes where they can be."""
    types = dict.fromkeys(("addend", "out", "hidden", "qkv"), dtype)
    for dim in (768, 1024) if name == "add_norm" else (1152, 2624):
        compiled = build(name, LAUNCHES[name][0], 16, 90, types=types, DIM=dim, WIDTH=1024)
        assert spilled(compiled, tmp_path) == 0
        assert ".v4.b32" in compiled.asm["ptx"]


def test_a_scan_compares_bytes_in_pairs() -> None:
    compiled = build("scan_codes", LAUNCHES["scan_codes"][0], 32, 90)
    assert "max.u16x2" in compiled.asm["ptx"]


def test_assignment_rounds_each_step_as_the_cpu_does() -> None:
    text = build("assign_tiles", LAUNCHES["assign_tiles"][0], 32, 90).asm["ptx"]
    assert "mul" in text
    assert "fma" not in text


@pytest.mark.parametrize("name", ["encode_by_weights", "encode_residuals", "mean_by_document"])
def test_encoding_divides_and_takes_roots_as_the_cpu_does(name: str) -> None:
    text = build(name, LAUNCHES[name][0], 32, 90).asm["ptx"]
    assert "div.rn.f32" in text
    assert "div.full" not in text
    assert "approx" not in text
    assert ".ftz" not in text  # subnormal numbers stay
    if name != "mean_by_document":
        assert "sqrt.rn.f32" in text
        assert "fma.rn.f32" in text


@pytest.mark.parametrize("launch", LAUNCHES["encode_residuals"])
def test_residuals_are_encoded_from_vectors_that_no_thread_writes(launch: Launch) -> None:
    """Other threads may read a vector than those that write it, and at another time."""
    text = build("encode_residuals", launch, 32, 90).asm["ptx"]
    assert set(re.findall(r"st\.global\.[a-z0-9.]+", text)) == {"st.global.b8"}


@pytest.mark.parametrize("launch", LAUNCHES["encode_by_weights"])
def test_threads_wait_before_and_after_vectors_are_overwritten(launch: Launch) -> None:
    text = build("encode_by_weights", launch, 32, 90).asm["ptx"]
    before, _, rest = text.partition("st.global.b32")
    after = rest.rpartition("st.global.b32")[2]
    assert "bar.sync" in before
    assert "bar.sync" in after[: after.index("ld.global")]
