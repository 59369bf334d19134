"""The threads that search, and how their results come back to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.context import RequestContext, answered_in_time
from colmodern.service.errors import ServiceError, overloaded
from colmodern.service.metrics import Metrics

Result = TypeVar("Result")
_BEHIND = 6  # pieces of work for each thread, beyond which the threads are behind
_MOST_JOINED = 16  # requests that are searched together
_NO_QUERIES = TokenEmbeddings(np.zeros((0, 1), np.float32), np.zeros(1, np.int64))


class Deliveries:
    """Results that threads deliver to futures of an event loop; one wake-up delivers many.

    Attributes:
        on_delivered: Called in the event loop after each wake-up.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.on_delivered: Callable[[], None] = lambda: None
        self._loop = loop
        self._ready: deque[Callable[[], None]] = deque()
        self._is_announced = False

    def result(self, future: asyncio.Future[Result], result: Result) -> None:
        """Deliver a result; may be called from any thread."""
        self.call(lambda: None if future.done() else future.set_result(result))

    def error(self, future: asyncio.Future[Result], error: Exception) -> None:
        """Deliver an error; may be called from any thread."""
        self.call(lambda: None if future.done() else future.set_exception(error))

    def call(self, delivery: Callable[[], None]) -> None:
        """Call a function in the event loop, after what was delivered before; from any thread."""
        self._ready.append(delivery)
        if not self._is_announced:  # a race makes a second wake-up, which does no harm, never none
            self._is_announced = True
            self._loop.call_soon_threadsafe(self._deliver_all)

    def _deliver_all(self) -> None:
        self._is_announced = False  # before the deque is emptied: what comes later is announced
        while self._ready:
            self._ready.popleft()()
        self.on_delivered()


@dataclass(frozen=True)
class JointWork(Generic[Result]):
    """Work with queries that can be done for several requests at once.

    Attributes:
        key: Equal for work that can be done together; None for work that is done alone.
        run: Gives a result for each of the requests' queries.
        waits: Whether it waits for other machines, so that a thread of its own does it.
    """

    key: Hashable | None
    run: Callable[[Sequence[TokenEmbeddings]], Sequence[Result]]
    waits: bool = False


@dataclass(eq=False)
class SearchEntry:
    """Work of a request, with its queries.

    Attributes:
        context: The request; work that has not begun at its deadline never begins.
        work: What is done, together with other work of the same key.
        queries: Its queries.
        future: Gets the result.
    """

    context: RequestContext
    work: JointWork[Any]
    queries: TokenEmbeddings
    future: asyncio.Future[Any]
    arrival: float = field(default_factory=time.perf_counter)


class SearchThreads:
    """Threads for work of requests, in the order of arrival, with a bounded queue.

    Waiting searches that differ in their queries alone are done together, which is faster than one after
    another.

    Attributes:
        pool: The threads.
        deliveries: Brings results to the event loop; set by ``start``.
    """

    def __init__(self, n_threads: int, queue: int, metrics: Metrics) -> None:
        """Make the threads; they begin with the first work.

        Args:
            n_threads: Number of threads.
            queue: Work that waits, at most; more is refused.
            metrics: Its gauge shows how much work waits.
        """
        self.pool = ThreadPoolExecutor(n_threads, "search")
        self._n_threads, self._queue = n_threads, queue
        self._depth = metrics.queue_depth.labels("search")
        self._waiting: deque[SearchEntry] = deque()
        self._taking = threading.Lock()
        self._n_works = 0
        self._counting = threading.Lock()

    def start(self) -> None:
        """Begin to take work; called once, in the event loop that requests come from."""
        self.deliveries = Deliveries(asyncio.get_running_loop())

    @property
    def are_behind(self) -> bool:
        """Whether the threads have work for longer than the next batch of queries takes."""
        return self._n_works > _BEHIND * self._n_threads

    async def run(self, context: RequestContext, work: Callable[[], Result]) -> Result:
        """Do work of a request in one of the threads.

        Args:
            context: The request; work that has not begun at its deadline never begins.
            work: A function without arguments.

        Returns:
            What the function returns.

        Raises:
            ServiceError: Too much work waits (429), or the deadline has passed (503).
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        alone = JointWork(None, lambda _: [work()])
        self.submit(SearchEntry(context, alone, _NO_QUERIES, future))
        return await answered_in_time(context, future)

    def submit(self, entry: SearchEntry) -> None:
        """Do work in one of the threads; may be called from any thread.

        Where too much work waits, the future gets a ServiceError (429).
        """
        try:
            self._count(1)
        except ServiceError as error:
            self.deliveries.error(entry.future, error)
            return
        with self._taking:
            self._waiting.append(entry)
        self.pool.submit(self._do_next)  # finds nothing where another thread took the work along

    def do_here(self, entries: Sequence[SearchEntry]) -> None:
        """Do work in the thread that calls, as much of it together as can be."""
        alike: dict[Hashable, list[SearchEntry]] = {}
        for entry in entries:
            key = entry if entry.work.key is None else entry.work.key
            alike.setdefault(key, []).append(entry)
        for group in alike.values():
            for first in range(0, len(group), _MOST_JOINED):
                joined = group[first : first + _MOST_JOINED]
                self._do([entry for entry in joined if self._is_in_time(entry)])

    def _do_next(self) -> None:
        """Do the work that has waited longest, and what can be done with it."""
        entries = self._take()
        try:
            self._do([entry for entry in entries if self._is_in_time(entry)])
        finally:
            self._count(-len(entries))

    def _take(self) -> list[SearchEntry]:
        """The entry that has waited longest, and others of the same key."""
        with self._taking:
            if not self._waiting:
                return []
            first = self._waiting.popleft()
            if first.work.key is None:
                return [first]
            alike = [entry for entry in self._waiting if entry.work.key == first.work.key]
            # each thread takes its share of them
            alike = alike[: min(_MOST_JOINED - 1, len(alike) // self._n_threads)]
            for entry in alike:
                self._waiting.remove(entry)
            return [first, *alike]

    def _is_in_time(self, entry: SearchEntry) -> bool:
        """Whether an entry can still be answered; one whose deadline has passed fails."""
        if entry.future.done():
            return False
        entry.context.add("queue", time.perf_counter() - entry.arrival)
        try:
            entry.context.expect_time()
        except ServiceError as error:
            self.deliveries.error(entry.future, error)
            return False
        return True

    def _do(self, entries: Sequence[SearchEntry]) -> None:
        if not entries:
            return
        start = time.perf_counter()
        try:
            results = entries[0].work.run([entry.queries for entry in entries])
        except Exception as error:
            if len(entries) == 1:
                self.deliveries.error(entries[0].future, error)
                return
            for entry in entries:  # the fault may lie in one of them alone
                self._do([entry])
            return
        taken = time.perf_counter() - start
        for entry, result in zip(entries, results, strict=True):
            entry.context.add("search", taken)
            self.deliveries.result(entry.future, result)

    def _count(self, change: int) -> None:
        with self._counting:
            if change > 0 and self._n_works >= self._n_threads + self._queue:
                raise overloaded("the queue of searches")
            self._n_works += change
            self._depth.set(max(0, self._n_works - self._n_threads))
