"""Runs files of tests named check_*.py, each in a process of its own.

Triton decides when it is imported whether it compiles kernels for a GPU or interprets them on the CPU.
Tests of kernels and searches on GPUs are therefore no test_*.py: an ordinary test collects the files of
a folder and runs them in the interpreter, and on_gpu.py (``make test-gpu``) runs them all on a GPU.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_INTERPRETED = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
# NumPy 2.5 makes an error of what it warned of before
_STRICT = "error:Conversion of an array with ndim:DeprecationWarning"


def checks_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("check_*.py"))


def run_checks(path: Path, *, marks: str | None = None) -> None:
    """Run a file of tests in the interpreter; ``marks`` instead of those that a plain run takes."""
    if find_spec("triton") is None and platform.system() != "Linux":
        pytest.skip("Triton has no build for this system")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "-W", _STRICT]
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    done = subprocess.run(
        command + (["-m", marks] if marks else []),
        env={**os.environ, **_INTERPRETED},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
