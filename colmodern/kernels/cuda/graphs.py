"""Launches of a search, recorded once as a CUDA graph and replayed for each query."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from colmodern.kernels.cuda.memory import pinned

_log = logging.getLogger(__name__)
_MOST_GRAPHS = 16  # graphs that are kept; each keeps the memory of its search


@dataclass
class _Recording:
    """A CUDA graph with the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: torch.Tensor
    outputs: torch.Tensor


class Replays:
    """Runs a function of one tensor; from the second call with a key on, as a recorded graph.

    The first call compiles kernels, which cannot be recorded. Where a GPU refuses to record, all
    calls are plain ones. Where it has no memory for a recording, the others are dropped and this call is
    a plain one, whose own torch.cuda.OutOfMemoryError leaves; a later call records again. Not for
    several threads at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_usable = device.type == "cuda"
        self._seen: dict[Hashable, _Recording | None] = {}

    def run(
        self, key: Hashable, inputs: torch.Tensor, work: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """work(inputs) on the GPU; the next call with this key overwrites the result.

        Args:
            key: Everything that the work depends on, but the values of ``inputs``.
            inputs: A tensor on the host; or one on the GPU, which a recording reads where it is.
            work: A function of the tensor on the GPU.
        """
        if not self._is_usable:
            return work(inputs.to(self._device))
        if key not in self._seen:
            outputs = work(inputs.to(self._device))
            while len(self._seen) >= _MOST_GRAPHS:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return outputs
        recording = self._seen[key] = self._seen.pop(key)  # the last used is the last to go
        if recording is None:
            recording = self._record(inputs, work)
            if recording is None:
                return work(inputs.to(self._device))
            self._seen[key] = recording
        if recording.inputs is not inputs:
            is_upload = self._device.type == "cuda" and inputs.device.type == "cpu"
            source = pinned(inputs.numpy()) if is_upload else inputs
            recording.inputs.copy_(source, non_blocking=True)
        recording.graph.replay()
        return recording.outputs

    def forget(self, key: Hashable) -> None:
        """Drop a recording, if there is one, and the memory that it keeps."""
        self._seen.pop(key, None)

    def _record(
        self, inputs: torch.Tensor, work: Callable[[torch.Tensor], torch.Tensor]
    ) -> _Recording | None:
        """A recording; None where there is none, and this call is to be a plain one."""
        try:
            on_device = inputs.to(self._device)
            graph = torch.cuda.CUDAGraph()
            # other threads may use the GPU meanwhile
            with (
                _no_warning_of_empty_graphs(),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                outputs = work(on_device)
            return _Recording(graph, on_device, outputs)
        except RuntimeError as error:
            self._seen.clear()
            if not _is_shortage(error):
                self._is_usable = False
                torch.cuda.synchronize(self._device)
            reason = str(error)
        # past the handler, where the error no longer holds what the work had allocated
        if self._is_usable:
            torch.cuda.empty_cache()
            _log.warning("no memory on %s to record a search (%s)", self._device, reason)
        else:
            _log.warning("no CUDA graph on %s (%s): searches are launched", self._device, reason)
        return None


@contextmanager
def _no_warning_of_empty_graphs() -> Iterator[None]:
    """Ignore what torch warns of when work breaks off; as an error it would hide the cause."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The CUDA Graph is empty")
        yield


def _is_shortage(error: BaseException | None) -> bool:
    """Whether memory ran out: ending a recording can raise an error of its own after it."""
    while error is not None:
        if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error):
            return True
        error = error.__context__
    return False
