"""The views that the latest filters of an index let through, so that they are made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from colmodern.index.plaid.search.view import View
from colmodern.threads import ForkSafeLock

_MOST_VIEWS = 256
_MOST_BYTES = 64 << 20  # masks that are kept


class ViewCache:
    """Views of one state of an index, by the conditions that made them.

    Args:
        n_docs: Documents of the index, with the deleted ones.
    """

    def __init__(self, n_docs: int) -> None:
        self._most = max(1, min(_MOST_VIEWS, _MOST_BYTES // max(1, n_docs)))
        self._views: OrderedDict[Hashable, View] = OrderedDict()
        self._lock = ForkSafeLock()

    def get(self, key: Hashable, make: Callable[[], View]) -> View:
        """The view of a key, made where it is not there; two threads may both make it."""
        with self._lock.held():
            if (view := self._views.get(key)) is not None:
                self._views.move_to_end(key)
                return view
        view = make()
        with self._lock.held():
            self._views[key] = view
            while len(self._views) > self._most:
                self._views.popitem(last=False)
        return view
