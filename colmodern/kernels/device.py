"""Which device work runs on."""

from __future__ import annotations

import torch

from colmodern.errors import ConfigError


def pick_device(device: str, *, name: str = "device") -> str:
    """Resolve "auto" to "cuda" where there is a GPU, else "cpu".

    name: of the setting, for errors

    Raises ConfigError for a device that this machine lacks.
    """
    if not isinstance(device, str):
        raise ConfigError(f"{name}={device!r}; give auto, cpu, cuda or cuda:N as text")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"{name}={device!r}, but torch sees no GPU here; use {name}=cpu or auto")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"{name}={device!r} is not usable here: {error}; use cpu or auto"
        ) from error
    return device
