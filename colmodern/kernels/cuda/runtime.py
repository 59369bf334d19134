"""The CUDA devices there are, and what a launch needs to know of them."""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib.util import find_spec

import torch

from colmodern.checks import shown
from colmodern.errors import ConfigError, MissingExtraError
from colmodern.kernels.device import pick_device
from colmodern.optional import require

_log = logging.getLogger(__name__)
_INTERPRETED_MULTIPROCESSORS = 2  # stands for a GPU's in the interpreter
_INTERPRETED_CACHE = 1 << 20  # bytes


def is_interpreted() -> bool:
    """Whether Triton runs kernels in Python, on any tensor: a test of the whole path, not a use."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def find_cuda_devices(
    device: str | torch.device, *, name: str = "device"
) -> tuple[torch.device, ...]:
    """The GPUs that kernels in Triton run on; an empty tuple stands for the CPU.

    device: "auto", "cpu", "cuda", "cuda:N", or several as "cuda:0,cuda:1"
    name: of the setting, for errors

    "auto" says once why it takes the CPU. Raises ConfigError for a GPU that is not there,
    MissingExtraError when there is one but no Triton.
    """
    if isinstance(device, torch.device):
        device = str(device)
    if not isinstance(device, str):
        raise ConfigError(f"{name}={shown(device)}; give auto, cpu, cuda or cuda:N as text")
    if device in ("cpu", "cpu:0"):
        return ()
    if device == "auto":
        if torch.cuda.is_available() and find_spec("triton") is not None:
            return (torch.device("cuda", torch.cuda.current_device()),)
        _say_why_cpu()
        return ()
    names = [part.strip() for part in device.split(",")]
    if not all(part.partition(":")[0] == "cuda" for part in names):
        raise ConfigError(
            f"{name}={shown(device)}; give auto, cpu, cuda or cuda:N, or GPUs as cuda:0,cuda:1"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"{name}={shown(device)} names a GPU twice; name each once")
    if is_interpreted() and not torch.cuda.is_available():
        _require_triton(device, name)
        _say_interpreted()
        return (torch.device("cpu"),) * len(names)
    for part in names:
        pick_device(part, name=name)
    _require_triton(device, name)
    current = torch.device("cuda", torch.cuda.current_device())
    picked = map(torch.device, names)
    return tuple(current if gpu.index is None else gpu for gpu in picked)


def _require_triton(device: str, name: str) -> None:
    try:
        require("triton", extra="gpu")
    except MissingExtraError as error:
        raise MissingExtraError(f"{name}={shown(device)} needs Triton: {error}") from error


@cache
def _say_why_cpu() -> None:
    what = "Triton is not installed" if torch.cuda.is_available() else "torch sees no GPU"
    _log.info("device=auto: %s: no search kernel runs on a GPU", what)


@cache
def _say_interpreted() -> None:
    _log.warning("TRITON_INTERPRET=1: the kernels run in Python on the CPU, very slowly")


@cache
def multiprocessors(device: torch.device) -> int:
    """The number of multiprocessors of a GPU."""
    if device.type != "cuda":
        return _INTERPRETED_MULTIPROCESSORS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@cache
def cache_bytes(device: torch.device) -> int:
    """Size of the cache that all multiprocessors share."""
    if device.type != "cuda":
        return _INTERPRETED_CACHE
    return int(torch.cuda.get_device_properties(device).L2_cache_size)


def power_of_two(n: int, *, least: int = 1) -> int:
    """The smallest power of two that is at least ``n`` and ``least``."""
    return max(least, 1 << max(0, n - 1).bit_length())
