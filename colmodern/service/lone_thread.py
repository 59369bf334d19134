"""The thread for a request that comes alone, with PyTorch's own threads to help it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from colmodern.threads import cpu_count

_MOST_THREADS = 8  # more have too little to do for a query
_RUNS = 3
_STREAK = 4
_SLOW = 4  # times what a query takes on one thread
_PAUSE = 10.0  # seconds, doubled while it goes on
_LONGEST_PAUSE = 640.0


class LoneThread:
    """A thread whose OpenMP team stays together while requests come one by one.

    OpenMP's threads wait for each other after every operation. They are quick while they spin, which
    GNU's OpenMP lets them do only where a process has no more of them than CPUs: so this is the one
    thread of a server that may have a team. Where a team is slower, as where its threads sleep, this
    thread works by itself. Beside other busy programs a team waits for its turns, and may take ten times
    as long: it has a pause then.

    Attributes:
        n_threads: Threads of PyTorch for a request; 1 until ``calibrate`` has chosen.
    """

    def __init__(self) -> None:
        self.n_threads = 1
        self._pool = ThreadPoolExecutor(1, "lone-encoder")
        self._streak = 0
        self._limit_s = float("inf")
        self._paused_until, self._pause_s = 0.0, _PAUSE

    async def calibrate(self, encode: Callable[[], object]) -> None:
        """Choose the number of threads with which a query takes least time.

        Args:
            encode: Encodes a query.
        """
        await asyncio.get_running_loop().run_in_executor(self._pool, self._calibrate, encode)

    def takes(self, *, is_alone: bool) -> bool:
        """Whether the next request is for this thread, after some that came alone as well.

        Args:
            is_alone: Whether nothing else is encoded or searched now.
        """
        self._streak = self._streak + 1 if is_alone else 0
        is_next = self.n_threads > 1 and self._streak > _STREAK
        return is_next and time.perf_counter() >= self._paused_until

    def note(self, seconds: float) -> None:
        """Pause after an encoding of a query that took far too long.

        Args:
            seconds: How long a query of usual length took in this thread.
        """
        if seconds <= self._limit_s:
            self._pause_s = _PAUSE
            return
        self._paused_until = time.perf_counter() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE)

    def submit(self, work: Callable[[], object]) -> None:
        """Do work in this thread."""
        self._pool.submit(work)

    def shutdown(self) -> None:
        """Wait for the work of this thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _calibrate(self, encode: Callable[[], object]) -> None:
        import torch

        seconds = {}
        n_threads = 1
        while n_threads <= min(cpu_count(), _MOST_THREADS):
            torch.set_num_threads(n_threads)
            encode()  # makes the team
            seconds[n_threads] = min(_timed(encode) for _ in range(_RUNS))
            n_threads *= 2
        self._limit_s = _SLOW * seconds[1]
        self.n_threads = min(seconds, key=seconds.__getitem__)
        torch.set_num_threads(self.n_threads)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
