"""Centroids in cells: a token chooses only among the centroids of its own cell.

A cell is a frequent vocabulary id where token ids are known (token-aware clustering: most
centroids of a late-interaction model belong to one vocabulary id anyway, see
https://arxiv.org/abs/2404.14989 and https://arxiv.org/abs/2604.28142), else a coarse k-means cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

from colmodern.kernels.encoding import assign_centroids
from colmodern.progress import Progress

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

POINTS_PER_CENTROID = 48  # more do not improve a centroid by as much as they cost
_FEWEST_POINTS = 4  # a centroid of fewer sampled tokens would not generalise
_ITERATIONS = 5  # eight lose half a percent less of squared length
# of points and centroids; with fewer, threads gain nothing and on a busy machine wait for each other
_FEWEST_PRODUCTS = 1 << 20
_MOST_CELLS = 1024  # of coarse k-means cells
_MOST_IDS = 1 << 22  # a number beyond is no vocabulary id, and would need a table as long


@dataclass(frozen=True, eq=False)
class Centroids:
    """Centroids as they are stored and searched: int8 rows with a scale each.

    rows: (n_centroids, dim) int8; scales: (n_centroids,) float32; row * scale is the centroid
    cells: (n_cells + 1,) int64; cell i owns centroids cells[i] to cells[i + 1]
    token_cells: (n_ids,) int32, the cell of each vocabulary id, or None when there were no ids
    coarse: (n_cells, dim) float32, the middle of each cell when there were no ids, else None
    """

    rows: npt.NDArray[np.int8]
    scales: Floats
    cells: Ints
    token_cells: npt.NDArray[np.int32] | None
    coarse: Floats | None

    @cached_property
    def sums(self) -> npt.NDArray[np.int32]:
        """(n_centroids,) what 128 added to every byte of the other side adds to a product."""
        return np.asarray(128 * self.rows.sum(axis=1, dtype=np.int32), np.int32)

    @cached_property
    def half_norms(self) -> Floats:
        """(n_centroids,) half the squared length."""
        squares = np.square(self.rows.astype(np.int32)).sum(axis=1).astype(np.float32)
        return np.asarray(squares * self.scales * self.scales / 2, np.float32)

    def decode(self, codes: npt.NDArray[np.integer]) -> Floats:
        """(n_tokens, dim) the centroids behind the codes."""
        rows: Floats = self.rows[codes].astype(np.float32)
        rows *= self.scales[codes, None]
        return rows

    def assign(self, values: Floats, token_ids: npt.NDArray[np.int32] | None) -> Ints:
        """(n_tokens,) nearest centroid of each centred token, within its cell."""
        cell = self._cells_of(values, token_ids)
        order = np.argsort(cell, kind="stable")
        found, starts = np.unique(cell[order], return_index=True)
        offsets = np.append(starts, len(order))
        firsts = np.append(self.cells[:-1], 0)[found]
        lasts = np.append(self.cells[1:], len(self.rows))[found]
        codes = np.empty(len(values), np.int64)
        self._assign_groups(values, order, offsets, firsts, lasts, codes)
        return codes

    def _assign_groups(
        self, values: Floats, order: Ints, offsets: Ints, firsts: Ints, lasts: Ints, codes: Ints
    ) -> None:
        """The kernel's work: codes of tokens, group by group, among firsts to lasts."""
        parts = (self.rows, self.sums, self.scales, self.half_norms)
        assign_centroids(values, order, offsets, firsts, lasts, *parts, codes)

    def _cells_of(self, values: Floats, token_ids: npt.NDArray[np.int32] | None) -> Ints:
        """(n_tokens,) cells; n_cells stands for all centroids: an id that was never seen."""
        n_cells = len(self.cells) - 1
        if self.token_cells is not None:
            if token_ids is None:
                return np.full(len(values), n_cells)
            known = _are_ids(token_ids) & (token_ids < len(self.token_cells))
            cells = self.token_cells[np.where(known, token_ids, 0)].astype(np.int64)
            return np.where(known & (cells >= 0), cells, n_cells)
        return _nearest(self._middles, values)

    @cached_property
    def _middles(self) -> Centroids:
        assert self.coarse is not None
        return _one_cell(self.coarse)


def _one_cell(centroids: Floats) -> Centroids:
    """Centroids that every token chooses among."""
    return quantize(centroids, np.array([0, len(centroids)]), None, None)


def _nearest(middles: Centroids, values: Floats) -> Ints:
    """(n_tokens,) nearest centroid of one cell."""
    return middles.assign(values, np.zeros(len(values), np.int32))


def quantize(
    centroids: Floats,
    cells: Ints,
    token_cells: npt.NDArray[np.int32] | None,
    coarse: Floats | None,
) -> Centroids:
    """Centroids as int8 rows; with neither token_cells nor coarse, all ids share cell 0."""
    scales = np.maximum(np.abs(centroids).max(axis=1, initial=1e-12), 1e-12) / 127
    rows = np.rint(centroids / scales[:, None]).astype(np.int8)
    if token_cells is None and coarse is None:
        token_cells = np.zeros(1, np.int32)
    return Centroids(rows, scales.astype(np.float32), cells, token_cells, coarse)


def train_centroids(
    values: Floats,
    token_ids: npt.NDArray[np.int32] | None,
    n_centroids: int,
    *,
    seed: int,
    progress: Progress,
) -> Centroids:
    """Cluster a sample of centred tokens.

    values: (n_sampled, dim) float32; token_ids: (n_sampled,) int32 or None
    n_centroids: an upper bound; a sample with fewer distinct places gives fewer
    """
    if token_ids is None:
        coarse, cell = _coarse_cells(values, n_centroids, seed)
        token_cells = None
    else:
        token_cells, cell = _token_cells(token_ids, n_centroids)
        coarse = None
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(cell.max() + 2))
    sizes = np.diff(starts)
    budget = _budgets(values, order, starts, n_centroids)
    progress.start("cluster", len(values), unit="tokens")
    means = []
    for i, size in enumerate(sizes):
        rows = order[starts[i] : starts[i + 1]]
        means.append(_kmeans(values, rows, int(budget[i]), seed))
        progress.advance(int(size))
    progress.finish()
    cells = np.concatenate([[0], np.cumsum([len(mean) for mean in means])])
    return quantize(np.concatenate(means), cells, token_cells, coarse)


def _token_cells(
    token_ids: npt.NDArray[np.int32], n_centroids: int
) -> tuple[npt.NDArray[np.int32], Ints]:
    """A cell for each id that deserves a centroid of its own; the others share the last cell."""
    known = _are_ids(token_ids)
    counts = np.bincount(token_ids[known], minlength=1)
    weights = np.sqrt(counts)
    # so that there are at most n_centroids cells, also with one for what is no id
    total = weights.sum() + np.sqrt(np.count_nonzero(~known))
    own = (weights * n_centroids >= total) & (counts >= _FEWEST_POINTS)
    token_cells = np.full(len(counts), own.sum(), np.int32)
    token_cells[own] = np.arange(own.sum())
    cell = np.where(known, token_cells[np.where(known, token_ids, 0)], own.sum()).astype(np.int64)
    if own.sum() and not np.any(cell == own.sum()):
        token_cells[~own] = -1  # every sampled id has its own cell; others search all centroids
    return token_cells, cell


def _are_ids(token_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    return np.asarray((token_ids >= 0) & (token_ids < _MOST_IDS))


def _coarse_cells(values: Floats, n_centroids: int, seed: int) -> tuple[Floats, Ints]:
    most = min(_MOST_CELLS, max(1, len(values) // _FEWEST_POINTS))
    n_cells = int(np.clip(np.sqrt(n_centroids), 1, most))
    coarse = _kmeans(values, np.arange(len(values)), n_cells, seed)
    cell = _nearest(_one_cell(coarse), values)
    used = np.unique(cell)  # a middle without tokens would be a cell without centroids
    return coarse[used], np.searchsorted(used, cell)


def _budgets(values: Floats, order: Ints, starts: Ints, n_centroids: int) -> Ints:
    """Centroids of each cell: more for cells with many and with scattered tokens."""
    sizes = np.diff(starts)
    spread = np.empty(len(sizes))
    for i in range(len(sizes)):
        rows = order[starts[i] : starts[i + 1]]
        some = values[rows[:: max(1, len(rows) // 256)]]
        spread[i] = some.var(axis=0).sum() if len(some) > 1 else 0.0
    weights = np.sqrt(sizes) * np.maximum(spread, 1e-6)
    most = np.maximum(1, sizes // _FEWEST_POINTS)
    budget = np.ones(len(sizes))
    for _ in range(8):  # what cells at their limit cannot use goes to the others
        open_ = budget < most
        left = n_centroids - budget[~open_].sum()
        if left <= 0 or not open_.any():
            break
        share = weights * open_ / max((weights * open_).sum(), 1e-12) * left
        budget = np.where(open_, np.clip(share, 1, most), budget)
    return np.maximum(1, np.floor(budget)).astype(np.int64)


def _kmeans(values: Floats, rows: Ints, k: int, seed: int) -> Floats:
    """(k, dim) means of the chosen rows."""
    if k == 1:
        return np.asarray(values[rows].mean(axis=0, keepdims=True, dtype=np.float32))
    most = k * POINTS_PER_CENTROID
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    kmeans = faiss.Kmeans(
        values.shape[1],
        k,
        niter=_ITERATIONS,
        seed=seed + 1,  # 0 would be a seed of faiss's own choice in some versions
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CENTROID,
    )
    n_threads = faiss.omp_get_max_threads()
    if k * len(rows) < _FEWEST_PRODUCTS:
        faiss.omp_set_num_threads(1)
    try:
        kmeans.train(np.ascontiguousarray(values[rows]))
    finally:
        faiss.omp_set_num_threads(n_threads)
    return np.asarray(kmeans.centroids, np.float32)
