"""Work split over threads, for kernels that run without the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar
from weakref import WeakSet

Item = TypeVar("Item")
Result = TypeVar("Result")


def cpu_count() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="colmodern")


if hasattr(os, "register_at_fork"):  # a forked process has none of the pool's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


_locks: WeakSet[ForkSafeLock] = WeakSet()


def _renew_locks() -> None:
    for lock in _locks:
        lock._lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class ForkSafeLock:
    """A lock that is free in a forked process, whichever thread of its parent held it.

    The guarded state must be valid whenever a fork may happen: written last, in one step.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        _locks.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock in a block."""
        with self._lock:  # releases the same lock, also in a process forked in the block
            yield


class Threads:
    """``n`` threads; with one, work runs in the calling thread."""

    def __init__(self, n: int | None = None) -> None:
        self.n = cpu_count() if n is None else int(n)

    def split(self, work: Callable[[int, int], object], total: int, *, least: int = 1) -> None:
        """Call work(start, stop) for equal slices of range(total), none smaller than ``least``."""
        n_shares = max(1, min(self.n, total // max(1, least)))
        edges = [total * i // n_shares for i in range(n_shares + 1)]
        if n_shares == 1:
            work(0, total)
            return
        others = [_pool(self.n).submit(work, edges[i], edges[i + 1]) for i in range(1, n_shares)]
        work(edges[0], edges[1])
        for other in others:
            other.result()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """[work(item) for item in items], in the order of the items."""
        if self.n == 1:
            return [work(item) for item in items]
        return list(_pool(self.n).map(work, items))

    def stream(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results one by one in the order of the items, with at most two items a thread under way."""
        if self.n == 1:
            yield from map(work, items)
            return
        under_way: deque[Future[Result]] = deque()
        for item in items:
            under_way.append(_pool(self.n).submit(work, item))
            if len(under_way) == 2 * self.n:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
