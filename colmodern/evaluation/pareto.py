"""Which points nobody beats in both of two figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[float], qualities: Sequence[float]) -> list[bool]:
    """Whether each point is on the front: no other is as cheap and as good, and better in one.

    costs: less is better; qualities: more is better. Points that are equal in both share a place.
    """
    cost, quality = np.asarray(costs, float), np.asarray(qualities, float)
    order = np.lexsort((-quality, cost))  # cheapest first, then best first
    on_front = np.zeros(len(cost), bool)
    best, best_cost = -np.inf, -np.inf
    for point in order:
        if quality[point] > best or (quality[point] == best and cost[point] == best_cost):
            on_front[point] = True
            best, best_cost = quality[point], cost[point]
    return [bool(one) for one in on_front]
