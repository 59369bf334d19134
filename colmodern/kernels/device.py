"""The devices that work runs on: the one place that reads a setting of a device."""

from __future__ import annotations

import logging
import re
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple

from colmodern.checks import shown
from colmodern.errors import ConfigError, MissingExtraError
from colmodern.optional import require

if TYPE_CHECKING:
    import torch

Kernels = Literal["torch", "triton", "triton or torch"]

_log = logging.getLogger(__name__)
_CUDA = re.compile(r"cuda(?::(0|[1-9][0-9]{0,3}))?")
_CHOICES = "auto, cpu, cuda or cuda:N"


class Devices(NamedTuple):
    """The devices that work runs on; resolved from a setting once, then passed down.

    Attributes:
        setting: "cpu", "cuda", "cuda:N" or several GPUs as "cuda:0,cuda:1".
        gpus: GPUs that kernels in Triton run on; empty where the CPU or torch does the work.
        missing: Why torch does the work on a GPU that the caller named, else "".
    """

    setting: str
    gpus: tuple[torch.device, ...] = ()
    missing: str = ""


CPU = Devices("cpu")


def resolve_device(
    device: str | torch.device | Devices,
    *,
    kernels: Kernels = "triton",
    auto: str | None = None,
    name: str = "device",
) -> Devices:
    """Resolve a setting of a device to what is usable here.

    The CPU is resolved without loading torch. Where "auto" takes the CPU for want of kernels, the
    log says so once.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N", a torch.device of these, or several GPUs as
            "cuda:0,cuda:1" where kernels in Triton run. Devices are returned as they are.
        kernels: What the work has on a GPU: torch alone, kernels in Triton alone, or these where
            Triton is installed and torch on one GPU where it is not.
        auto: The device of the encoder, which "auto" follows; None: the current GPU, if any.
        name: The setting's name, for errors.

    Raises:
        ConfigError: The device is not supported, or this machine lacks it.
        MissingExtraError: There is a GPU, but no Triton, and torch cannot do the work.
    """
    if isinstance(device, Devices):
        return device
    if isinstance(device, str) and device in ("cpu", "cpu:0"):
        return CPU
    import torch

    if not isinstance(device, str | torch.device):
        raise ConfigError(f"{name}={shown(device)}; give {_CHOICES} as text")
    device = str(device)
    if device == "auto":
        return _automatic(kernels, auto, name)
    if device in ("cpu", "cpu:0"):
        return CPU
    if kernels == "torch":
        _expect_usable(device, name, device)
        return Devices(device)
    try:
        return Devices(device, _triton_gpus(device, name))
    except MissingExtraError as error:
        if kernels == "triton" or "," in device:  # torch uses one GPU
            raise
        return Devices(device, missing=str(error))


def _automatic(kernels: Kernels, auto: str | None, name: str) -> Devices:
    """Devices for "auto"."""
    import torch

    if auto is not None:
        if kernels != "triton" or not auto.startswith("cuda"):
            return resolve_device(auto, kernels=kernels, name=name)
        if find_spec("triton") is None:
            _warn_of_missing_triton(name)
            return CPU
        return resolve_device(auto, name=name)
    if kernels != "torch":
        if torch.cuda.is_available() and find_spec("triton") is not None:
            gpu = torch.device("cuda", torch.cuda.current_device())
            return Devices(str(gpu), (gpu,))
        _log_why_cpu()
    is_usable = kernels != "triton" and torch.cuda.is_available()
    return Devices("cuda") if is_usable else CPU


def _triton_gpus(device: str, name: str) -> tuple[torch.device, ...]:
    """GPUs that kernels in Triton run on; in Triton's interpreter the CPU stands for each."""
    import torch

    from colmodern.kernels.cuda.runtime import is_interpreted

    names = [gpu.strip() for gpu in device.split(",")]
    if not all(gpu.partition(":")[0] == "cuda" for gpu in names):
        raise ConfigError(
            f"{name}={shown(device)} is not supported; give {_CHOICES}, or GPUs as cuda:0,cuda:1"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"{name}={shown(device)} names a GPU twice; name each once")
    if is_interpreted() and not torch.cuda.is_available():
        _require_triton(device, name)
        _warn_of_the_interpreter()
        return (torch.device("cpu"),) * len(names)
    for gpu in names:
        _expect_usable(gpu, name, device)
    _require_triton(device, name)
    return tuple(
        torch.device("cuda", torch.cuda.current_device()) if gpu == "cuda" else torch.device(gpu)
        for gpu in names
    )


def _expect_usable(gpu: str, name: str, setting: str) -> None:
    """Raise ConfigError unless torch can use the GPU; setting: what names it, for errors."""
    import torch

    match = _CUDA.fullmatch(gpu)
    if match is None:
        raise ConfigError(
            f"{name}={shown(setting)} is not supported: colmodern runs on CPUs and CUDA GPUs; "
            f"give {_CHOICES}"
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{name}={shown(gpu)}, but torch sees no GPU here; use {name}=cpu or auto"
        )
    n_gpus = torch.cuda.device_count()
    if int(match[1] or 0) >= n_gpus:
        raise ConfigError(
            f"{name}={shown(gpu)}, but torch sees {n_gpus} GPUs here, counted from 0; "
            f"give at most cuda:{n_gpus - 1}"
        )
    try:
        torch.empty(0, device=gpu)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{name}={shown(gpu)} is not usable here: {reason}; use cpu or auto"
        ) from error


def _require_triton(device: str, name: str) -> None:
    try:
        require("triton", extra="gpu")
    except MissingExtraError as error:
        raise MissingExtraError(f"{name}={shown(device)} needs Triton: {error}") from error


@cache
def _log_why_cpu() -> None:
    import torch

    reason = "Triton is not installed" if torch.cuda.is_available() else "torch sees no GPU"
    _log.info("device=auto: %s: no search kernel runs on a GPU", reason)


@cache
def _warn_of_missing_triton(name: str) -> None:
    _log.warning(
        "%s=auto: Triton is not installed, so the index is built and searched on the CPU; "
        "for the GPU: pip install 'colmodern[gpu]'",
        name,
    )


@cache
def _warn_of_the_interpreter() -> None:
    _log.warning("TRITON_INTERPRET=1: the kernels run in Python on the CPU, very slowly")
