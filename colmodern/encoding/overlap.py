"""Threads around a loop: one prefetches its input, the other writes its output behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class _Failure(NamedTuple):
    error: BaseException


class _End:
    """Stands behind the last item."""


_END = _End()


class Prefetcher(Generic[Item]):
    """Makes the next item of an iterable while the caller works on one; use it in a with block.

    What the iterable raises is raised where its item was asked for.

    Attributes:
        cancel: Called when the block is left early, to wake the iterable where it waits for
            something.
    """

    def __init__(
        self, items: Iterable[Item], *, cancel: Callable[[], object] | None = None
    ) -> None:
        self._items = items
        self._cancel = cancel
        self._queue: Queue[Item | _Failure | _End] = Queue(1)
        self._stopped = Event()
        self._thread = Thread(target=self._make, name="colmodern-ahead")

    def __enter__(self) -> Iterator[Item]:
        self._thread.start()
        return self._taken()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._cancel is not None and self._thread.is_alive():
            self._cancel()
        while self._thread.is_alive():
            try:  # make room for the item that it may be holding
                self._queue.get_nowait()
            except Empty:
                self._thread.join(0.01)

    def _make(self) -> None:
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stopped.is_set():
                    return
        except BaseException as error:  # raised again by the caller
            self._queue.put(_Failure(error))
        else:
            self._queue.put(_END)

    def _taken(self) -> Iterator[Item]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item


class WriteBehind(Generic[Item]):
    """Finishes an item while the caller makes the next one; use it in a with block.

    At most one item is in the making at a time. What ``finish`` raises is raised by the next
    ``put`` or at the end of the block, and nothing is finished after it. A block that fails still
    waits for the item that it has put.
    """

    def __init__(self, finish: Callable[[Item], object]) -> None:
        self._finish = finish
        self._queue: Queue[Item | _End] = Queue(1)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="colmodern-behind")

    def __enter__(self) -> WriteBehind[Item]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.put(_END)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def put(self, item: Item) -> None:
        """Hand an item over, when the one before is finished."""
        self._queue.join()
        if self._error is not None:
            raise self._error
        self._queue.put(item)

    def _work(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            try:
                if self._error is None:
                    self._finish(item)
            except BaseException as error:  # raised again by the caller
                self._error = error
            finally:
                self._queue.task_done()
