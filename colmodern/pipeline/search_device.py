"""Which device an index of a config is built and searched on."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

from colmodern.config.models import ExactIndexConfig, IndexConfig, PlaidIndexConfig
from colmodern.errors import MissingExtraError
from colmodern.kernels.cuda.runtime import find_cuda_devices

_log = logging.getLogger(__name__)
_FIELD = "index.device"


def search_device(config: IndexConfig, encoder_device: str) -> str:
    """What ``index.device`` comes to, as ExactIndex and PlaidIndex take it.

    encoder_device: where the encoder is, which "auto" follows

    Raises as ``exact_device`` and ``plaid_device``.
    """
    pick = exact_device if isinstance(config, ExactIndexConfig) else plaid_device
    return pick(config.device, encoder_device)


def exact_device(device: str, encoder_device: str, *, name: str = _FIELD) -> str:
    """The same for exact search, also for that beside a compressed index.

    name: of the setting, for errors

    Raises ConfigError for a GPU that is not there, MissingExtraError for several without Triton.
    One without it is left to ExactIndex.
    """
    if device == "auto":
        return encoder_device
    try:
        find_cuda_devices(device, name=name)
    except MissingExtraError:
        if "," in device:
            raise
        # without Triton torch scores on one GPU, and ExactIndex says so
    return device


def plaid_on(config: PlaidIndexConfig, encoder_device: str) -> PlaidIndexConfig:
    """The config with its device settled."""
    return config.model_copy(update={"device": plaid_device(config.device, encoder_device)})


def plaid_device(device: str, encoder_device: str, *, name: str = _FIELD) -> str:
    """The same for a compressed index.

    "auto" takes the CPU, and says so once, where the kernels are missing. Raises
    ConfigError for a GPU that is not there, MissingExtraError where Triton is missing.
    """
    if device != "auto":
        find_cuda_devices(device, name=name)
        return device
    if not encoder_device.startswith("cuda"):
        return "cpu"
    if find_spec("triton") is None:
        _say_why_cpu(name)
        return "cpu"
    return encoder_device


@cache
def _say_why_cpu(name: str) -> None:
    _log.warning(
        "%s=auto: Triton is not installed, so the index is built and searched on the CPU; "
        "for the GPU: pip install 'colmodern[gpu]'",
        name,
    )
