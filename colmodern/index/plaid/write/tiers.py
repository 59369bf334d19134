"""Choice of the segments to merge with a new one: few are left, and none is copied often.

Segments of up to SMALL tokens are of class 0, those of up to FANOUT times as many of class 1, and so
on. From the oldest to the newest, classes never rise; there is at most one segment of class 0, and
of another class there are fewer than FANOUT: a new segment takes in those before it that are
smaller, and FANOUT of one class become one, which may be one too many of the next class. So a
document is copied a few times while it is in class 0 and about once in each other class, the number
of segments grows with the logarithm of the index, and documents keep their order.

Sources: the log-structured merge-tree, https://doi.org/10.1007/s002360050048, as Lucene and LevelDB
have it.
"""

from __future__ import annotations

from collections.abc import Sequence

# a search of several segments takes .1 ms longer than of one, and .01 ms more for each of them; so
# many tokens are searched in .3 ms, and copied in a few, as the disk is waited for
SMALL = 1 << 16
FANOUT = 2  # three segments of a class answer more slowly and save hardly a copy
_MOST = 64  # segments, where classes rise, because earlier changes did not merge


def class_of(size: int) -> int:
    """The class of a segment; size: its tokens and documents together."""
    number = 0
    while size > SMALL * FANOUT**number:
        number += 1
    return number


def first_merged(sizes: Sequence[int], new: int) -> int:
    """How many segments stay; those from there on are merged with one of size ``new``.

    sizes: size of each segment, oldest first
    """
    classes = [class_of(size) for size in sizes]
    start, total = len(sizes), new
    while True:
        own, first = class_of(total), start
        while first and classes[first - 1] < own:
            first -= 1
        same = first
        while same and classes[same - 1] == own:
            same -= 1
        if first - same >= (FANOUT - 1 if own else 1):
            first = same
        if first == start:
            break
        total += sum(sizes[first:start])
        start = first
    if start < _MOST:
        return start
    rises = (i for i in range(start) if classes[i] < max(classes[i + 1 : start], default=0))
    return min(next(rises, start), start)
