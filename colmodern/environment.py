"""Where a result was made: versions, hardware, commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import colmodern
from colmodern.checks import storable

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scipy",
    "faiss-cpu",
    "numba",
    "datasets",
    "safetensors",
    "ir_measures",
    "pydantic",
    "huggingface_hub",
)


def describe_environment(more: Sequence[str] = ()) -> dict[str, object]:
    """Versions, hardware and the commit of colmodern, as plain values.

    more: packages whose versions matter too
    """
    return {
        "colmodern": colmodern.__version__,
        "commit": _commit(),
        "command": list(map(storable, sys.argv)),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (*_PACKAGES, *more)},
        "hardware": describe_hardware(),
    }


def describe_hardware() -> dict[str, object]:
    """CPU model, cores that may be used, memory and GPUs."""
    import torch

    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "system": platform.platform(),
        "processor": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in gpus],
    }


def peak_memory_mb() -> int | None:
    """The most memory that this process had resident so far; None where the system does not say."""
    status = Path("/proc/self/status")  # getrusage would count what the parent process had
    if status.is_file() and (match := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(match[1]) * 1024 // 1_000_000
    try:
        import resource
    except ImportError:
        return None  # Windows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024) // 1_000_000


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf"):
        return None  # Windows
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (match := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        return match[1]
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Commit of the checkout that colmodern runs from, "+" when it has changes; else None."""
    root = Path(colmodern.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
