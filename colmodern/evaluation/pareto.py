"""The Pareto front of points with a cost and a quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(
    costs: Sequence[float], qualities: Sequence[float], ties: Sequence[float]
) -> list[bool]:
    """Whether each point is on the front: no other is as cheap and as good, and better in one.

    Args:
        costs: less is better.
        qualities: more is better.
        ties: among points of equal cost and quality, only those with the least of this are on it.
    """
    cost, quality, tie = (np.asarray(values, float) for values in (costs, qualities, ties))
    order = np.lexsort((tie, -quality, cost))  # cheapest first, then best first
    on_front = np.zeros(len(cost), bool)
    last: tuple[float, float, float] | None = None  # the last point that is on the front
    for point in order:
        here = (cost[point], quality[point], tie[point])
        if last is None or here[1] > last[1] or here == last:
            on_front[point] = True
            last = here
    return [bool(is_on) for is_on in on_front]
