"""Calls of several shards at once, until a deadline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from colmodern.errors import UnavailableError

Answer = TypeVar("Answer")

_CALLS = 16  # calls of a shard at a time; one that hangs takes no thread of another
FACTS_S = 30.0  # seconds, at least, for what is no search


def facts_timeout(timeout_s: float | None) -> float | None:
    """Seconds for what is asked of shards beside searches; timeout_s: of these, None for any time."""
    return None if timeout_s is None else max(timeout_s, FACTS_S)


class FanOut:
    """Threads for the calls of each shard; safe to use from many threads at once.

    Args:
        names: Names of the shards.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._process = 0

    def __call__(
        self, calls: Mapping[str, Callable[[], Answer]], timeout_s: float | None
    ) -> tuple[dict[str, Answer], dict[str, Exception]]:
        """The answers of shards, and the errors of those that gave none.

        A call that is late goes on in its thread, and what it returns is dropped.

        Args:
            calls: A call for each shard that is asked.
            timeout_s: Seconds that all of them may take together; None: any time.
        """
        if len(calls) == 1 and timeout_s is None:
            [(name, call)] = calls.items()
            try:
                return {name: call()}, {}
            except Exception as error:  # a shard may be of any kind, and fail in any way
                return {}, {name: error}
        pools = self._own_pools()
        futures: dict[str, Future[Answer]] = {
            name: pools[name].submit(call) for name, call in calls.items()
        }
        late = wait(futures.values(), timeout_s).not_done
        answers: dict[str, Answer] = {}
        errors: dict[str, Exception] = {}
        for name, future in futures.items():
            if future in late:
                future.cancel()
                errors[name] = UnavailableError(f"it did not answer within {timeout_s:g} s")
                continue
            try:
                answers[name] = future.result()
            except Exception as error:  # whatever it raises, as before
                errors[name] = error
        return answers, errors

    def close(self) -> None:
        """Let the threads end once their calls have."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._pools = {}

    def _own_pools(self) -> Mapping[str, ThreadPoolExecutor]:
        """The pools of this process: a forked one has none of the threads of its parent."""
        if self._process != os.getpid() or not self._pools:
            self._pools = {
                name: ThreadPoolExecutor(_CALLS, thread_name_prefix=f"colmodern-{name}")
                for name in self._names
            }
            self._process = os.getpid()
        return self._pools
