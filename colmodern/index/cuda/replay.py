"""One query again and again: the launches of a search, recorded once as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

_log = logging.getLogger(__name__)
_MOST = 16  # graphs that are kept; each keeps the memory of its search


@dataclass
class _Recorded:
    graph: torch.cuda.CUDAGraph
    given: torch.Tensor
    found: torch.Tensor


class Replays:
    """Runs a function of one tensor; from the second call with a key on, as a recorded graph.

    The first call compiles kernels, which cannot be recorded. Where a GPU refuses to record, all
    calls are plain ones. Not for several threads at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_usable = device.type == "cuda"
        self._seen: dict[Hashable, _Recorded | None] = {}

    def run(
        self, key: Hashable, given: torch.Tensor, work: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """work(given) on the GPU; the result is overwritten by the next call with this key.

        given: on the host; key: everything but its values that the work depends on
        """
        if not self._is_usable:
            return work(given.to(self._device))
        if key not in self._seen:
            while len(self._seen) >= _MOST:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return work(given.to(self._device))
        recorded = self._seen[key] = self._seen.pop(key)  # the last used is the last to go
        if recorded is None:
            recorded = self._record(given, work)
            if recorded is None:
                return work(given.to(self._device))
            self._seen[key] = recorded
        recorded.given.copy_(given, non_blocking=True)
        recorded.graph.replay()
        return recorded.found

    def _record(
        self, given: torch.Tensor, work: Callable[[torch.Tensor], torch.Tensor]
    ) -> _Recorded | None:
        on_device = given.to(self._device)
        try:
            graph = torch.cuda.CUDAGraph()
            # other threads may go on using the GPU meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                found = work(on_device)
        except RuntimeError as error:
            self._is_usable = False
            self._seen.clear()
            torch.cuda.synchronize(self._device)
            _log.warning("no CUDA graph on %s (%s): searches are launched", self._device, error)
            return None
        return _Recorded(graph, on_device, found)
