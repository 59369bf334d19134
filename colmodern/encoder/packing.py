"""How texts lie end to end, without padding, and which of them attention takes together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Neighbouring texts of one length and one number of attended tokens.

    start: first row of the group; its rows are n_texts * length
    attended: how many of each text's first tokens are attended to
    """

    start: int
    n_texts: int
    length: int
    attended: int

    @property
    def stop(self) -> int:
        """Row after the last."""
        return self.start + self.n_texts * self.length


@dataclass(frozen=True)
class Packing:
    """Texts end to end, longest first.

    order: (n_texts,) the caller's number of each text, in the order they lie
    groups: those of at least one token
    """

    order: Indices
    groups: tuple[Group, ...]

    @property
    def n_tokens(self) -> int:
        """Rows of all texts."""
        return self.groups[-1].stop if self.groups else 0

    def n_longer_than(self, length: int) -> int:
        """Rows of texts with more than ``length`` tokens; they come first."""
        return max((group.stop for group in self.groups if group.length > length), default=0)

    def positions(self) -> Indices:
        """(n_tokens,) the position of each row in its text."""
        parts = [np.tile(np.arange(group.length), group.n_texts) for group in self.groups]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def texts(self) -> Indices:
        """(n_tokens,) the number of each row's text, counted in the order they lie."""
        lengths = [group.length for group in self.groups for _ in range(group.n_texts)]
        return np.repeat(np.arange(len(lengths)), lengths)

    def is_attended(self) -> npt.NDArray[np.bool_]:
        """(n_tokens,) whether other tokens of its text attend to a row."""
        parts = [
            np.tile(np.arange(group.length) < group.attended, group.n_texts)
            for group in self.groups
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def pack(lengths: Indices, attended: Indices) -> Packing:
    """Lay texts end to end.

    lengths: (n_texts,) tokens of each text
    attended: (n_texts,) how many of each text's first tokens are attended to
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


def _runs(rows: Indices) -> tuple[list[list[int]], list[int]]:
    """Equal neighbours once each, and how many there were."""
    if len(rows) == 0:
        return [], []
    is_first = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))
    starts = np.flatnonzero(is_first)
    return rows[starts].tolist(), np.diff(np.append(starts, len(rows))).tolist()
