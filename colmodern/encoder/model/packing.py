"""Packing of texts end to end, without padding, in groups that attention takes together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Neighbouring texts of one length and one number of attended tokens.

    Attributes:
        start: First row of the group, which has n_texts * length rows.
        n_texts: Texts in the group.
        length: Tokens of each text.
        attended: How many of each text's first tokens are attended to.
    """

    start: int
    n_texts: int
    length: int
    attended: int

    @property
    def stop(self) -> int:
        """The row after the group's last."""
        return self.start + self.n_texts * self.length


@dataclass(frozen=True)
class Packing:
    """Texts end to end, longest first.

    Attributes:
        order: (n_texts,) the caller's index of each text, in packed order.
        groups: Groups of texts with at least one token.
    """

    order: Indices
    groups: tuple[Group, ...]

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all texts, one row each."""
        return self.groups[-1].stop if self.groups else 0

    def n_longer_than(self, length: int) -> int:
        """Number of rows of the texts with more than ``length`` tokens, which come first."""
        return max((group.stop for group in self.groups if group.length > length), default=0)

    def positions(self) -> Indices:
        """(n_tokens,) the position of each row in its text."""
        positions = [np.tile(np.arange(group.length), group.n_texts) for group in self.groups]
        return np.concatenate(positions) if positions else np.zeros(0, np.int64)

    def texts(self) -> Indices:
        """(n_tokens,) the index of each row's text, in packed order."""
        lengths = [group.length for group in self.groups for _ in range(group.n_texts)]
        return np.repeat(np.arange(len(lengths)), lengths)

    def is_attended(self) -> npt.NDArray[np.bool_]:
        """(n_tokens,) whether other tokens of its text attend to a row."""
        is_attended = [
            np.tile(np.arange(group.length) < group.attended, group.n_texts)
            for group in self.groups
        ]
        return np.concatenate(is_attended) if is_attended else np.zeros(0, np.bool_)


def pack(lengths: Indices, attended: Indices) -> Packing:
    """Lay texts end to end.

    Args:
        lengths: (n_texts,) tokens of each text.
        attended: (n_texts,) how many of each text's first tokens are attended to.
    """
    order = np.lexsort((-attended, -lengths))
    groups: list[Group] = []
    start = 0
    kinds, counts = _runs(np.stack([lengths[order], attended[order]], axis=1))
    for (length, n_attended), n_texts in zip(kinds, counts, strict=True):
        if length > 0:
            groups.append(Group(start, n_texts, length, n_attended))
            start = groups[-1].stop
    return Packing(order, tuple(groups))


def _runs(kinds: Indices) -> tuple[list[list[int]], list[int]]:
    """The rows of an array without repetitions of their neighbours, and the length of each run."""
    if len(kinds) == 0:
        return [], []
    is_first = np.append(True, (kinds[1:] != kinds[:-1]).any(axis=1))
    starts = np.flatnonzero(is_first)
    return kinds[starts].tolist(), np.diff(np.append(starts, len(kinds))).tolist()
