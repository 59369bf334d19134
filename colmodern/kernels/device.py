"""Which device work runs on."""

from __future__ import annotations

import re

import torch

from colmodern.checks import shown
from colmodern.errors import ConfigError

_CUDA = re.compile(r"cuda(?::(0|[1-9][0-9]{0,3}))?")
_CHOICES = "auto, cpu, cuda or cuda:N"


def pick_device(device: str | torch.device, *, name: str = "device") -> str:
    """Resolve "auto" to "cuda" where there is a GPU, else "cpu".

    Args:
        device: "auto", "cpu", "cuda", "cuda:N", or a torch.device of these.
        name: Of the setting, for errors.

    Returns:
        "cpu", "cuda" or "cuda:N", which is usable here.

    Raises:
        ConfigError: The device is not supported, or this machine lacks it.
    """
    if not isinstance(device, str | torch.device):
        raise ConfigError(f"{name}={shown(device)}; give {_CHOICES} as text")
    device = str(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device in ("cpu", "cpu:0"):
        return "cpu"
    parts = _CUDA.fullmatch(device)
    if parts is None:
        raise ConfigError(
            f"{name}={shown(device)} is not supported: colmodern runs on CPUs and CUDA GPUs; "
            f"give {_CHOICES}"
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{name}={shown(device)}, but torch sees no GPU here; use {name}=cpu or auto"
        )
    n_gpus = torch.cuda.device_count()
    if int(parts[1] or 0) >= n_gpus:
        raise ConfigError(
            f"{name}={shown(device)}, but torch sees {n_gpus} GPUs here, counted from 0; "
            f"give at most cuda:{n_gpus - 1}"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{name}={shown(device)} is not usable here: {reason}; use cpu or auto"
        ) from error
    return device
