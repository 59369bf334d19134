"""The threads that search, and the way of their results back to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from colmodern.service.context import RequestContext, answered_in_time
from colmodern.service.errors import overloaded
from colmodern.service.metrics import Metrics

Result = TypeVar("Result")


class Deliveries:
    """Results that threads deliver to futures of an event loop; one wake-up delivers many."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[Callable[[], None]] = deque()
        self._is_announced = False

    def result(self, future: asyncio.Future[Result], result: Result) -> None:
        """Deliver a result; from any thread."""
        self._deliver(lambda: None if future.done() else future.set_result(result))

    def error(self, future: asyncio.Future[Result], error: Exception) -> None:
        """Deliver what was raised; from any thread."""
        self._deliver(lambda: None if future.done() else future.set_exception(error))

    def _deliver(self, delivery: Callable[[], None]) -> None:
        self._ready.append(delivery)
        if not self._is_announced:  # two wake-ups do no harm, and none is not possible
            self._is_announced = True
            self._loop.call_soon_threadsafe(self._deliver_all)

    def _deliver_all(self) -> None:
        self._is_announced = False  # before the deque is emptied: what comes later is announced
        while self._ready:
            self._ready.popleft()()


class SearchThreads:
    """Threads for work of requests, in the order of arrival, with a bounded queue.

    Attributes:
        pool: The threads.
        deliveries: The way of results to the event loop; set by ``start``.
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
        self._waiting = metrics.queue_depth.labels("search")
        self._n_works = 0
        self._counting = threading.Lock()

    def start(self) -> None:
        """Begin to take work; called once, in the event loop that requests come from."""
        self.deliveries = Deliveries(asyncio.get_running_loop())

    @property
    def are_behind(self) -> bool:
        """Whether work waits for every thread, beside what it does."""
        return self._n_works > 2 * self._n_threads

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
        self.submit(context, work, future)
        return await answered_in_time(context, future)

    def submit(
        self, context: RequestContext, work: Callable[[], Result], future: asyncio.Future[Result]
    ) -> None:
        """The same for a future that a coroutine waits for already; from any thread.

        Raises:
            ServiceError: Too much work waits (429).
        """
        self._count(1)
        arrival = time.perf_counter()

        def timed() -> None:
            try:
                if future.done():  # nobody waits for it any more
                    return
                context.add("queue", time.perf_counter() - arrival)
                context.expect_time()
                with context.timing("search"):
                    result = work()
            except Exception as error:
                self.deliveries.error(future, error)
            else:
                self.deliveries.result(future, result)
            finally:
                self._count(-1)

        self.pool.submit(timed)

    def _count(self, change: int) -> None:
        with self._counting:
            if change > 0 and self._n_works >= self._n_threads + self._queue:
                raise overloaded("the queue of searches")
            self._n_works += change
            self._waiting.set(max(0, self._n_works - self._n_threads))
