"""The earlier home of MtebModel, now in ``colmodern.integrations.mteb``; it goes with version 0.2."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "MtebModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("colmodern.integrations.mteb").MtebModel
