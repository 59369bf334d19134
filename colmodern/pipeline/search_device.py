"""The devices that an index of a config is built and searched on."""

from __future__ import annotations

from typing import TypeVar

from colmodern.config.models import ExactIndexConfig, IndexConfig, PlaidIndexConfig
from colmodern.kernels.device import Devices, resolve_device

FIELD = "index.device"
_Config = TypeVar("_Config", ExactIndexConfig, PlaidIndexConfig)


def search_devices(config: IndexConfig, encoder_device: str) -> Devices:
    """The devices of ``index.device``, where "auto" follows the encoder.

    Raises ConfigError for a GPU that is not there, MissingExtraError where Triton is missing and
    torch cannot do the search.
    """
    if isinstance(config, ExactIndexConfig):
        return exact_devices(config, encoder_device)
    return resolve_device(config.device, auto=encoder_device, name=FIELD)


def exact_devices(config: IndexConfig, encoder_device: str) -> Devices:
    """The devices of exact search, also of that beside a compressed index."""
    return resolve_device(config.device, kernels="triton or torch", auto=encoder_device, name=FIELD)


def with_device(config: _Config, encoder_device: str) -> _Config:
    """The config with its device resolved."""
    devices = search_devices(config, encoder_device)
    return config.model_copy(update={"device": devices.setting})
