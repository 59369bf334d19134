"""A process of a cluster that holds one shard and answers for it."""

from __future__ import annotations

from pathlib import Path
from threading import Lock, Thread

import numpy as np

from colmodern.cluster.copies import copy_index, index_digest
from colmodern.index.plaid.index import PlaidIndex


class ShardHolder:
    """Opens a shard in a thread when the process starts, so that a restarted process is soon warm.

    Every byte is compared with its checksum before the first answer. Where the shard cannot be opened,
    each call tries again and raises the fault; the process stays.

    Args:
        folder: The shard, on disks that all machines see.
        scratch: Folder on the machine's own disk that gets a copy; None: the shared folder is searched.
        n_threads: Threads of a search.
    """

    def __init__(self, folder: Path, scratch: Path | None, n_threads: int) -> None:
        self._folder, self._scratch, self._n_threads = folder, scratch, n_threads
        self._lock = Lock()
        self._index: PlaidIndex | None = None
        Thread(target=self._open_early, name="colmodern-open", daemon=True).start()

    def ask(self, method: str, arguments: tuple[object, ...], options: dict[str, object]) -> object:
        """The answer of a method of the index, or the value of a property of it."""
        wanted = getattr(self._opened(), method)
        return wanted(*arguments, **options) if callable(wanted) else wanted

    def check_health(self) -> None:
        """Answer a canary query; raises the fault of a shard that cannot be opened or searched."""
        search_canary(self._opened())

    def _open_early(self) -> None:
        try:
            self._opened()
        except Exception:  # raised again by the first call
            return

    def _opened(self) -> PlaidIndex:
        with self._lock:
            if self._index is None:
                folder, verify = self._folder, "full"
                if self._scratch is not None:
                    folder, verify = local_copy(self._folder, self._scratch), "lazy"
                index = PlaidIndex.load(
                    folder,
                    n_threads=self._n_threads,
                    verify=verify,  # type: ignore[arg-type]
                    while_compiling="wait",
                )
                search_canary(index)
                self._index = index
            return self._index


def search_canary(index: PlaidIndex) -> None:
    """Search once for a query of each width, which reads files and compiles kernels."""
    if len(index):
        for n_tokens in (1, 32):
            index.search(np.zeros((n_tokens, index.dim), np.float32), 1)


def local_copy(folder: Path, scratch: Path) -> Path:
    """A verified copy of an index on this machine, made once for each version of the index.

    Raises:
        StorageError: The index is damaged, or the disk is full.
    """
    copy = scratch / f"{folder.parent.name}-{folder.name}-{index_digest(folder)[:16]}"
    if not copy.is_dir():
        try:
            copy_index(folder, copy)
        except OSError:
            if not copy.is_dir():  # else another process of this machine was faster
                raise
    return copy
