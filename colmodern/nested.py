"""Nested settings as flat ones by their path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, object], path: str = "") -> dict[str, object]:
    """Values by their path, as {"search.k": 10}; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        key_path = f"{path}.{key}" if path else str(key)
        flat |= (
            flatten(value, key_path) if isinstance(value, Mapping) and value else {key_path: value}
        )
    return flat
