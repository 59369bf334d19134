"""Windows of long documents, encoded one by one and scored together as one document."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Window(NamedTuple):
    """A window of a text, with the head and the tail that every window has.

    Attributes:
        ids: Token ids.
        is_kept: (n_tokens,) bool; over all windows of a text, True once for each of its tokens, but
            for the head and the tail where every window keeps its own.
    """

    ids: list[int]
    is_kept: npt.NDArray[np.bool_]


def split_ids(
    ids: Sequence[int],
    *,
    head: int,
    tail: int,
    length: int,
    overlap: int,
    are_passages: bool = False,
) -> list[Window]:
    """Split a text into windows of ``length`` tokens, or one window when it is not longer.

    Windows are spread evenly, so each is full. A shared token is kept in the window where it
    is further from the edge; the head is kept in the first window and the tail in the last, or
    both in every window where these are passages.

    Args:
        ids: Token ids of the whole text.
        head: First tokens of the text, repeated in every window.
        tail: Last tokens of the text, repeated in every window.
        length: Tokens of a window.
        overlap: Least number of other tokens that neighbours share, below
            ``length - head - tail``.
        are_passages: Whether each window is to be a document of its own, with head and tail.
    """
    if len(ids) <= length:
        return [Window(list(ids), np.ones(len(ids), np.bool_))]
    before, after = list(ids[:head]), list(ids[len(ids) - tail :])
    body = ids[head : len(ids) - tail]
    room = length - head - tail
    n_windows = -(-(len(body) - overlap) // (room - overlap))
    starts = [i * (len(body) - room) // (n_windows - 1) for i in range(n_windows)]
    middles = [(left + room + right) // 2 for left, right in pairwise(starts)]
    edges = [0, *middles, len(body)]
    windows = []
    for i, start in enumerate(starts):
        is_kept = np.zeros(length, np.bool_)
        is_kept[head + edges[i] - start : head + edges[i + 1] - start] = True
        is_kept[:head] = i == 0 or are_passages
        is_kept[head + room :] = i == n_windows - 1 or are_passages
        windows.append(Window([*before, *body[start : start + room], *after], is_kept))
    return windows
