"""Memory of a GPU: how much is free, and smaller tiles when it turns out to be less."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from colmodern.errors import ResourceError

_log = logging.getLogger(__name__)
_SHARE = 0.8  # share of the free memory for what stays on the GPU; the rest is for searches
_INTERPRETED = 1 << 30  # bytes; stands for a GPU's memory in Triton's interpreter


def on(device: torch.device) -> AbstractContextManager[object]:
    """Send allocations and launches to this GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def free_bytes(device: torch.device) -> int:
    """Bytes that this process could still get on the GPU."""
    if device.type != "cuda":
        return _INTERPRETED
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


def budget(device: torch.device, max_bytes: int | None) -> int:
    """Bytes that may stay on the GPU: ``max_bytes``, or most of what is free."""
    return int(_SHARE * free_bytes(device)) if max_bytes is None else max_bytes


@contextmanager
def naming_memory(what: str, cure: str) -> Iterator[None]:
    """Raise ResourceError where a GPU runs out of memory; what: the data that did not fit."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ResourceError(
            f"the GPU has no memory left for {what} ({error}); {cure}, or give device=cpu"
        ) from error


def in_tiles(
    n: int,
    tile: int,
    work: Callable[[int, int], None],
    *,
    what: str = "queries",
    least: int = 1,
) -> int:
    """Call work(start, stop) for tiles of range(n), halved when memory runs out.

    Args:
        n: How many items there are.
        tile: Items at a time.
        work: Called with the first item of a tile, and the one after its last.
        what: Name of the items, for the log.
        least: A tile of so many items is not halved.

    Returns:
        The size of tile that fitted. Raises torch's error when even ``least`` items do not fit.
    """
    start = 0
    while start < n:
        stop = min(start + tile, n)
        try:
            work(start, stop)
        except torch.cuda.OutOfMemoryError:
            if stop - start <= least:
                raise
            tile = max(least, (stop - start) // 2)
            _log.warning("the GPU is out of memory: continuing with %d %s at a time", tile, what)
        else:
            start = stop
            continue
        # past the handler, where the error no longer holds what the work had allocated
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return tile


def pinned(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """A copy in pinned memory, from which a GPU copies while the host goes on.

    torch keeps the memory until copies that were started from it are done.
    """
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    host = torch.empty(array.shape, dtype=dtype, pin_memory=True)
    np.copyto(host.numpy(), array)
    return host


def to_device(
    array: npt.NDArray[np.generic], device: torch.device, stream: torch.cuda.Stream | None = None
) -> torch.Tensor:
    """A copy on the GPU that the host does not wait for.

    stream: does the copy, while other streams work; later launches on the current stream wait for it
    """
    if device.type != "cuda":
        return torch.from_numpy(np.array(array)).to(device)
    host = pinned(array)
    if stream is None:
        return host.to(device, non_blocking=True)
    current = torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        copy = host.to(device, non_blocking=True)
    current.wait_stream(stream)
    copy.record_stream(current)
    return copy


class HostCopy:
    """A tensor on its way to the host, which goes on meanwhile.

    Attributes:
        is_here: Whether there is nothing to wait for: the tensor was on the host.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        """Start the copy, behind what the current stream still has to do."""
        self.is_here = tensor.device.type != "cuda"
        self._tensor = tensor
        if not self.is_here:
            # pinned: a copy to other memory makes the host wait
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> npt.NDArray[np.generic]:
        """The array, as soon as it is there."""
        if not self.is_here:
            self._arrived.synchronize()
        array: npt.NDArray[np.generic] = self._tensor.numpy()
        return array


def share_out(ends: torch.Tensor, n_shares: int) -> list[tuple[int, int]]:
    """Cut documents into runs of about equally many tokens; a run may be empty.

    ends: (n_docs + 1,) int64 offsets
    """
    wanted = torch.arange(1, n_shares) * int(ends[-1]) // n_shares
    edges = [0, *torch.searchsorted(ends, wanted).tolist(), len(ends) - 1]
    return list(pairwise(edges))
