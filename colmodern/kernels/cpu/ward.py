"""Ward clustering of a document's tokens in memory that grows with tokens, not with their pairs.

Reciprocal nearest neighbours are merged many at a time. Ward's cost is reducible (merging two
clusters brings neither nearer to a third), so these are the merges of the greedy algorithm in
another order (Murtagh 1983). A cluster looks for its neighbour again only after that was merged,
costs come from the clusters' means, and work ends when all merges below the cut are known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from colmodern.kernels.cpu.jit import compiled
from colmodern.kernels.types import Bools, Floats, Int64s

_BLOCK = 512  # clusters whose distances to a cluster stay in cache
_TIE = np.float32(1e-5)  # both of two unit rows are as near to their mean: no rounding may choose
_STEP = 4  # dimensions that are read in a pass over a block


class _Clusters(NamedTuple):
    """The clusters that are left, in the order of their first tokens, at the front of each array."""

    means: Floats  # (dim, n)
    sizes: Floats  # (n,) tokens
    firsts: Int64s  # (n,) the first token
    formed: Floats  # (n,) cost of the merge that made the cluster; 0 for a token
    nearest: Int64s  # (n,) the cluster that is cheapest to merge with; -1: none below the cut
    costs: Floats  # (n,) cost of that merge
    is_stale: Bools  # (n,) whether the nearest cluster has to be looked for again
    is_gone: Bools  # (n,) whether the cluster was merged into an earlier one
    has_grown: Bools  # (n,) whether another was merged into it


@compiled
def ward_labels(values: Floats, n_clusters: int, labels: Int64s) -> None:
    """Ward's clustering of tokens, cut where ``n_clusters`` are left.

    Args:
        values: (n, dim) float32 tokens.
        n_clusters: 1 to n.
        labels: (n,) int64, written; clusters count from 0 in the order of their first tokens.
    """
    n, wanted = len(values), len(values) - n_clusters
    clusters = _singletons(values)
    pairs = np.empty((n, 2), np.int64)  # first tokens of merged clusters
    costs = np.empty(n, np.float32)
    distances = np.empty(_BLOCK, np.float32)
    n_left, n_found, ceiling = n, 0, np.float32(np.inf)
    while wanted:
        for i in range(n_left):
            if clusters.is_stale[i]:
                _find_nearest(clusters, n_left, i, ceiling, distances)
        before = n_found
        n_found = _merge(clusters, n_left, ceiling, pairs, costs, n_found)
        if n_found > before:
            n_left = _close_gaps(clusters, n_left)
        elif np.all(clusters.costs[:n_left] >= ceiling):
            break
        else:  # equal costs can form a ring of outdated neighbours; fresh ones cannot
            clusters.is_stale[:n_left] = True
        if n_found >= wanted:  # a merge that costs as much or more would come too late
            ceiling = np.sort(costs[:n_found])[wanted - 1]
    order = np.argsort(costs[:n_found], kind="mergesort")[:wanted]
    parents = np.arange(n)
    for merge in order:
        left, right = _root(parents, pairs[merge, 0]), _root(parents, pairs[merge, 1])
        parents[max(left, right)] = min(left, right)
    n_seen = 0
    for token in range(n):  # a root is the first token of its cluster
        root = _root(parents, token)
        if root == token:
            labels[token] = n_seen
            n_seen += 1
        else:
            labels[token] = labels[root]


@compiled
def pool_clusters(values: Floats, labels: Int64s, pooled: Floats, members: Int64s) -> None:
    """The unit mean of each cluster's tokens, and the token nearest to it.

    Tokens that cancel out are represented by the first.

    Args:
        values: (n, dim) float32 tokens.
        labels: (n,) int64 cluster of each.
        pooled: (n_clusters, dim) float32, written.
        members: (n_clusters,) int64, written: the first of the nearest tokens.
    """
    n = len(values)
    pooled[:] = np.float32(0)
    members[:] = -1
    for token in range(n):
        pooled[labels[token]] += values[token]
        if members[labels[token]] < 0:
            members[labels[token]] = token
    for cluster in range(len(pooled)):
        length = np.sqrt(np.sum(pooled[cluster] * pooled[cluster]))
        if length > np.float32(1e-6):
            pooled[cluster] /= length
        else:
            pooled[cluster] = values[members[cluster]]
    products = np.empty(n, np.float32)
    best = np.full(len(pooled), np.float32(-np.inf))
    for token in range(n):
        products[token] = np.sum(pooled[labels[token]] * values[token])
        best[labels[token]] = max(best[labels[token]], products[token])
    for token in range(n - 1, -1, -1):
        if products[token] >= best[labels[token]] - _TIE:
            members[labels[token]] = token


@compiled
def _singletons(values: Floats) -> _Clusters:
    n, dim = values.shape
    means = np.zeros(((dim + _STEP - 1) // _STEP * _STEP, n), np.float32)
    means[:dim] = values.T
    return _Clusters(
        means,
        np.ones(n, np.float32),
        np.arange(n),
        np.zeros(n, np.float32),
        np.full(n, -1),
        np.full(n, np.float32(np.inf)),
        np.ones(n, np.bool_),
        np.zeros(n, np.bool_),
        np.zeros(n, np.bool_),
    )


@compiled
def _find_nearest(
    clusters: _Clusters, n: int, i: int, ceiling: np.float32, distances: Floats
) -> None:
    """Set the nearest of cluster i: the first of the cheapest."""
    best, least = -1, np.float32(np.inf)
    means, sizes = clusters.means, clusters.sizes
    # whatever it is merged with costs no less than it did
    for start in range(0, n if clusters.formed[i] < ceiling else 0, _BLOCK):
        stop = min(n, start + _BLOCK)
        distances[:] = np.float32(0)
        for k in range(0, len(means), _STEP):
            a, b, c, d = means[k, i], means[k + 1, i], means[k + 2, i], means[k + 3, i]
            row_a, row_b = means[k, start:stop], means[k + 1, start:stop]
            row_c, row_d = means[k + 2, start:stop], means[k + 3, start:stop]
            for j in range(stop - start):
                to_a, to_b, to_c, to_d = row_a[j] - a, row_b[j] - b, row_c[j] - c, row_d[j] - d
                distances[j] += (to_a * to_a + to_b * to_b) + (to_c * to_c + to_d * to_d)
        for j in range(start, stop):
            cost = distances[j - start] * (sizes[i] * sizes[j] / (sizes[i] + sizes[j]))
            if cost < least and j != i:
                best, least = j, cost
    clusters.nearest[i], clusters.costs[i] = best, least
    clusters.is_stale[i] = False


@compiled
def _merge(
    clusters: _Clusters, n: int, ceiling: np.float32, pairs: Int64s, costs: Floats, n_found: int
) -> int:
    """Merge all that are each other's nearest, the later into the earlier, below the ceiling."""
    means, sizes = clusters.means, clusters.sizes
    for i in range(n):
        j = clusters.nearest[i]
        if j <= i or clusters.nearest[j] != i or clusters.costs[i] >= ceiling:
            continue
        # rounding must not put a merge before those of its parts
        cost = max(clusters.costs[i], clusters.formed[i], clusters.formed[j])
        pairs[n_found, 0], pairs[n_found, 1] = clusters.firsts[i], clusters.firsts[j]
        costs[n_found] = clusters.formed[i] = cost
        n_found += 1
        share = sizes[j] / (sizes[i] + sizes[j])
        for k in range(len(means)):
            means[k, i] += share * (means[k, j] - means[k, i])
        sizes[i] += sizes[j]
        clusters.has_grown[i] = clusters.is_gone[j] = True
    return n_found


@compiled
def _close_gaps(clusters: _Clusters, n: int) -> int:
    """Move the clusters that are left to the front; returns how many they are."""
    moved_to = np.cumsum(~clusters.is_gone[:n]) - 1
    for i in range(n):
        if clusters.is_gone[i]:
            continue
        near, to = clusters.nearest[i], moved_to[i]
        clusters.is_stale[to] = clusters.has_grown[i] or (
            near >= 0 and (clusters.is_gone[near] or clusters.has_grown[near])
        )
        clusters.nearest[to] = moved_to[near] if near >= 0 else -1
        clusters.costs[to], clusters.formed[to] = clusters.costs[i], clusters.formed[i]
        clusters.sizes[to], clusters.firsts[to] = clusters.sizes[i], clusters.firsts[i]
    for k in range(len(clusters.means)):
        row = clusters.means[k]
        for i in range(n):
            row[moved_to[i] if not clusters.is_gone[i] else i] = row[i]
    clusters.is_gone[:n] = False
    clusters.has_grown[:n] = False
    return int(moved_to[n - 1]) + 1


@compiled
def _root(parents: Int64s, i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i
