"""The cards that an index is searched on, filled when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.config.units import parse_bytes
from colmodern.index.plaid.effort import Effort
from colmodern.index.plaid.search import Addresses
from colmodern.index.plaid.view import View

if TYPE_CHECKING:
    import torch

    from colmodern.index.card.plaid import CardSearch
    from colmodern.index.card.queries import Found


def cards_of(device: str) -> Sequence[torch.device]:
    """As kernels.cuda.runtime.find_cards, without loading torch for the processor."""
    if device == "cpu":
        return ()
    from colmodern.kernels.cuda.runtime import find_cards

    return find_cards(device)


def open_cards(device: str, memory: int | str | None) -> Cards | None:
    """The cards of a device, as PlaidIndex.load takes it; None for the processor.

    Raises ConfigError for a card that is not there, MissingExtraError for one without Triton.
    """
    room = None if memory is None else parse_bytes(memory, name="device_memory")
    devices = cards_of(device)
    return Cards(devices, room) if devices else None


class Cards:
    """One card or several; memory: bytes that may stay on each, default most of what is free."""

    def __init__(self, devices: Sequence[torch.device], memory: int | None) -> None:
        self._devices = devices
        self._memory = memory
        self._filled: tuple[tuple[str, ...], CardSearch] | None = None
        self._lock = Lock()

    def search(
        self,
        queries: Sequence[npt.NDArray[np.float32]],
        view: View,
        effort: Effort,
        stored: Addresses | None,
    ) -> list[Found]:
        """As CardSearch.search, with what the view's segments are now."""
        if view.n_open == 0:
            return [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        return self._fill(view).search(queries, view, effort, stored)

    def _fill(self, view: View) -> CardSearch:
        """The cards with the segments of a view; deletions and filters do not fill them anew."""
        from colmodern.index.card.plaid import CardSearch

        names = tuple(segment.name for segment in view.segments)
        with self._lock:
            if self._filled is None or self._filled[0] != names:
                self._filled = None  # its memory is needed now
                self._filled = names, CardSearch(view, self._devices, self._memory)
            return self._filled[1]
