"""A set of ids that keeps digests instead of the ids."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable

import numpy as np


class HashedIds:
    """A set of ids as 64-bit digests: eight bytes an id, whatever its length.

    A missing id is mistaken for a present one with probability len / 2**64.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._digests = array("Q")
        self._sorted: np.ndarray[tuple[int], np.dtype[np.uint64]] | None = None
        for text in ids:
            self.add(text)

    def add(self, text: str) -> None:
        """Add an id, also one that is there already."""
        self._digests.append(_digest(text))
        self._sorted = None

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str):
            return False
        digests = self._in_order()
        position = int(np.searchsorted(digests, np.uint64(_digest(text))))
        return position < len(digests) and int(digests[position]) == _digest(text)

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that the set takes."""
        n_sorted = 0 if self._sorted is None else self._sorted.nbytes
        return len(self._digests) * self._digests.itemsize + n_sorted

    def repeated(self) -> set[int]:
        """Digests that were added more than once, for ``is_one_of``."""
        digests = self._in_order()
        return {int(digest) for digest in digests[1:][digests[1:] == digests[:-1]]}

    def _in_order(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        if self._sorted is None:
            self._sorted = np.sort(np.frombuffer(self._digests, np.uint64))
        return self._sorted


def is_one_of(text: str, digests: set[int]) -> bool:
    """Whether an id has one of these digests."""
    return _digest(text) in digests


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
