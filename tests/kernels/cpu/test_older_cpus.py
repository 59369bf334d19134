from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

HERE = Path(__file__).parent
KERNELS = ("probe", "gather", "prune", "refine", "residual_query", "score", "encoding")
AVX2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2"


@pytest.mark.slow
@pytest.mark.parametrize("features", ["+sse2", AVX2], ids=["sse2", "avx2"])
def test_older_cpus_compute_the_same(features: str, tmp_path: Path) -> None:
    """The other tests here, in a process whose compiler knows fewer instructions."""
    if not binding.get_process_triple().startswith("x86_64"):
        pytest.skip("these are features of x86")
    if not all(binding.get_host_cpu_features().get(name[1:]) for name in features.split(",")):
        pytest.skip("this CPU is older still")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": features,
        "COLMODERN_CACHE": str(tmp_path),
    }
    names = ("ir/test_simd", *(f"test_{name}" for name in KERNELS))
    files = [str(HERE / f"{name}.py") for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        env=environment,
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert any(tmp_path.rglob("*.nbc"))  # else the kernels of this CPU were used
