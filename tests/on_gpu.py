"""Runs all tests that need a GPU, and names those that fail: python tests/on_gpu.py [PYTEST OPTIONS].

``make test-gpu`` calls it. They are the tests with the mark ``gpu`` and those in check_*.py, which
``make test`` runs in Triton's interpreter. With pytest-xdist they run in several processes; ``-n 0`` is
one. A test that hangs is named, too.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_MOST_PROCESSES = 12  # each has a context on the GPU
_HANGS = 60  # seconds; what compiles most takes some ten
_OPTIONS = [
    "-m", "gpu", "-o", "python_files=test_*.py check_*.py", "-p", "no:cacheprovider",
    "-p", "no:benchmark",  # with xdist it warns, which is an error here
    "-o", f"faulthandler_timeout={_HANGS}", "--durations", "5", "--tb", "short",
]  # fmt: skip


def missing() -> str | None:
    """Why nothing can be tested here."""
    import torch

    if not torch.cuda.is_available():
        kind = "which was built without CUDA" if torch.version.cuda is None else "built for CUDA"
        return f"torch {torch.__version__}, {kind}, sees no GPU"
    if find_spec("triton") is None:
        return "Triton is not installed; install it with: pip install triton"
    return None


def main(arguments: list[str]) -> int:
    """Run them; the exit status is pytest's, or 2 where there is no GPU."""
    if "--collect-only" not in arguments and (reason := missing()) is not None:
        sys.stderr.write(
            f"nothing was tested: {reason}. Run this on a machine with an NVIDIA GPU; without one, "
            "make test runs the same kernels in Triton's interpreter.\n"
        )
        return 2
    import pytest

    os.environ |= {"TRITON_INTERPRET": "0", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[1]
    os.chdir(root)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(root))
    options = list(_OPTIONS)
    is_chosen = any(option.startswith(("-n", "--numprocesses")) for option in arguments)
    if find_spec("xdist") is not None and not is_chosen:
        n = min(_MOST_PROCESSES, os.cpu_count() or 1)
        options += ["-n", str(n), "--dist", "worksteal"]
        if pytest.version_tuple >= (9, 0):  # xdist names the test whose process ended
            options += ["-o", "faulthandler_exit_on_timeout=true"]
    return int(pytest.main([*options, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
