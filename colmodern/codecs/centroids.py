"""Centroids in cells: a token chooses only among the centroids of its own cell.

A cell is a frequent vocabulary id where token ids are known (token-aware clustering: most
centroids of a late-interaction model belong to one vocabulary id anyway, see
https://arxiv.org/abs/2404.14989 and https://arxiv.org/abs/2604.28142), else a coarse k-means cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

from colmodern.kernels.cpu.encoding import assign_centroids
from colmodern.kernels.types import CentroidArrays, TokenGroups
from colmodern.progress import Progress

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

FEW_CENTROIDS = 1 << 16  # a codec of more learns from a sample that grows with them
POINTS_PER_CENTROID = 48  # more do not improve a centroid by as much as they cost
_FEWEST_POINTS = 4  # a centroid of fewer sampled tokens would not generalise
_ITERATIONS = 5  # eight lose half a percent less of squared length
# with fewer products of a point and a centroid, threads gain nothing and on a busy machine wait
# for each other
_FEWEST_PRODUCTS = 1 << 20
_CHUNK = 1 << 16  # tokens that choose a cell together
_CENTROIDS_PER_CLUSTER = 64
_MOST_CELLS = 1024  # limit of coarse k-means cells
_MOST_IDS = 1 << 22  # a number beyond is not a vocabulary id, and would need a table as long


@dataclass(frozen=True, eq=False)
class Centroids:
    """Centroids as they are stored and searched: int8 values with a scale each.

    Attributes:
        values: (n_centroids, dim) int8; a row times its scale is the centroid.
        scales: (n_centroids,) float32.
        cells: (n_cells + 1,) int64; cell i owns centroids cells[i] to cells[i + 1].
        token_cells: (n_ids,) int32, the cell of each vocabulary id; None when there were no ids.
        coarse: (n_cells, dim) float32, the mean of each cell when there were no ids, else None.
        clusters: (n_centroids,) int32, a number that centroids near each other share, whatever their
            cells; None where they are so few that every search scores all.
    """

    values: npt.NDArray[np.int8]
    scales: Floats
    cells: Ints
    token_cells: npt.NDArray[np.int32] | None
    coarse: Floats | None
    clusters: npt.NDArray[np.int32] | None = None

    @cached_property
    def sums(self) -> npt.NDArray[np.int32]:
        """(n_centroids,) what 128 added to every byte of the other side adds to a product."""
        return np.asarray(128 * self.values.sum(axis=1, dtype=np.int32), np.int32)

    @cached_property
    def half_norms(self) -> Floats:
        """(n_centroids,) half the squared length."""
        squares = np.square(self.values.astype(np.int32)).sum(axis=1).astype(np.float32)
        return np.asarray(squares * self.scales * self.scales / 2, np.float32)

    @cached_property
    def arrays(self) -> CentroidArrays:
        """The centroids as kernels take them."""
        return CentroidArrays(self.values, self.sums, self.scales, self.half_norms)

    def decode(self, codes: npt.NDArray[np.integer]) -> Floats:
        """(n_tokens, dim) centroids of the codes."""
        centroids: Floats = self.values[codes].astype(np.float32)
        centroids *= self.scales[codes, None]
        return centroids

    def assign(self, values: Floats, token_ids: npt.NDArray[np.int32] | None) -> Ints:
        """(n_tokens,) nearest centroid of each centred token, within its cell."""
        cells = self.cells_of_ids(token_ids, len(values))
        groups = self.groups_of(_nearest(self.cell_means, values) if cells is None else cells)
        codes = np.empty(len(values), np.int64)
        assign_centroids(values, groups, self.arrays, codes)
        return codes

    def groups_of(self, token_cell: Ints) -> TokenGroups:
        """Tokens of the same cell together, from the cell of each."""
        order = np.argsort(token_cell, kind="stable")
        cells, starts = np.unique(token_cell[order], return_index=True)
        offsets = np.append(starts, len(order))
        firsts = np.append(self.cells[:-1], 0)[cells]
        lasts = np.append(self.cells[1:], len(self.values))[cells]
        return TokenGroups(order, offsets, firsts, lasts)

    def cells_of_ids(self, token_ids: npt.NDArray[np.int32] | None, n_tokens: int) -> Ints | None:
        """(n_tokens,) cells; None where a token's cell is the nearest of the cells' means.

        The number of cells stands for all centroids, for an id that was never seen.
        """
        if self.token_cells is None:
            return None
        n_cells = len(self.cells) - 1
        if token_ids is None:
            return np.full(n_tokens, n_cells)
        is_known = _are_ids(token_ids) & (token_ids < len(self.token_cells))
        cells = self.token_cells[np.where(is_known, token_ids, 0)].astype(np.int64)
        return np.where(is_known & (cells >= 0), cells, n_cells)

    @cached_property
    def cell_means(self) -> Centroids:
        """The means of the cells, as centroids that every token chooses among."""
        assert self.coarse is not None
        return alone(self.coarse)


def alone(centroids: Floats) -> Centroids:
    """Centroids that every token chooses among."""
    return quantize(centroids, np.array([0, len(centroids)]), None, None)


def _nearest(centroids: Centroids, values: Floats) -> Ints:
    """(n_tokens,) nearest of centroids in a single cell."""
    return centroids.assign(values, np.zeros(len(values), np.int32))


def quantize(
    centroids: Floats,
    cells: Ints,
    token_cells: npt.NDArray[np.int32] | None,
    coarse: Floats | None,
) -> Centroids:
    """Centroids rounded to int8; with neither token_cells nor coarse, all ids share cell 0."""
    scales = np.maximum(np.abs(centroids).max(axis=1, initial=1e-12), 1e-12) / 127
    values = np.rint(centroids / scales[:, None]).astype(np.int8)
    if token_cells is None and coarse is None:
        token_cells = np.zeros(1, np.int32)
    return Centroids(values, scales.astype(np.float32), cells, token_cells, coarse)


@dataclass(frozen=True, eq=False)
class CentredTokens:
    """Sampled tokens without the corpus's mean and their document's subject, worked out when taken.

    A large sample is the largest thing that a build keeps in memory, so it stays as it was read.

    Attributes:
        values: (n_sampled, dim) floats, as read.
        mean: (dim,) float32.
        subjects: (n_docs, dim) float32.
        doc_of: (n_sampled,) int32, document of each token.
    """

    values: npt.NDArray[np.floating]
    mean: Floats
    subjects: Floats
    doc_of: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Ints) -> Floats:
        """(len(rows), dim) float32 tokens."""
        tokens = self.values[rows].astype(np.float32, copy=False)
        tokens -= self._shifts[self.doc_of[rows]]
        return tokens

    @cached_property
    def _shifts(self) -> Floats:
        """(n_docs, dim) float32, what is taken from the tokens of each document."""
        return self.mean + self.subjects


def train_centroids(
    values: CentredTokens,
    token_ids: npt.NDArray[np.int32] | None,
    n_centroids: int,
    *,
    n_clustered: int | None = None,
    seed: int,
    progress: Progress,
) -> Centroids:
    """Cluster a sample of centred tokens.

    Args:
        values: The tokens.
        token_ids: (n_sampled,) int32 vocabulary ids, or None.
        n_centroids: An upper bound; a sample with fewer distinct values gives fewer.
        n_clustered: At most so many tokens of a cell are used; bounds memory. None for no bound.
        seed: Same seed, same centroids.
        progress: Advanced after each cell.
    """
    if token_ids is None:
        coarse, token_cell = _coarse_cells(values, n_centroids, seed)
        token_cells = None
    else:
        token_cells, token_cell = _token_cells(token_ids, n_centroids)
        coarse = None
    order = np.argsort(token_cell, kind="stable")
    starts = np.searchsorted(token_cell[order], np.arange(token_cell.max() + 2))
    sizes = np.diff(starts)
    counts = _centroids_by_cell(values, order, starts, n_centroids)
    progress.start("cluster", len(values), unit="tokens")
    means = []
    for i, size in enumerate(sizes):
        tokens = order[starts[i] : starts[i + 1]]
        means.append(_kmeans(values, tokens, int(counts[i]), seed, n_clustered))
        progress.advance(int(size))
    progress.finish()
    cells = np.concatenate([[0], np.cumsum([len(mean) for mean in means])])
    centroids = quantize(np.concatenate(means), cells, token_cells, coarse)
    if len(centroids.values) <= FEW_CENTROIDS:
        return centroids
    return replace(centroids, clusters=cluster(np.concatenate(means)))


def cluster(centroids: Floats) -> npt.NDArray[np.int32]:
    """(n_centroids,) int32 numbers of clusters, from 0, none of them empty.

    The nearest of every 64th centroid, and then of the means of these, decides: five rounds of k-means
    found the same documents (experiments/log/search.md).
    """
    leaders = centroids[::_CENTROIDS_PER_CLUSTER]
    nearest = _nearest(alone(leaders), centroids)
    counts = np.bincount(nearest, minlength=len(leaders))
    means = np.zeros(leaders.shape, np.float64)
    np.add.at(means, nearest, centroids)
    nearest = _nearest(
        alone((means[counts > 0] / counts[counts > 0, None]).astype(np.float32)), centroids
    )
    return np.unique(nearest, return_inverse=True)[1].astype(np.int32)


def _token_cells(
    token_ids: npt.NDArray[np.int32], n_centroids: int
) -> tuple[npt.NDArray[np.int32], Ints]:
    """A cell for each id that deserves a centroid of its own; the others share the last cell.

    Returns the cell of each id, and the cell of each token.
    """
    is_id = _are_ids(token_ids)
    counts = np.bincount(token_ids[is_id], minlength=1)
    weights = np.sqrt(counts)
    # there are then at most n_centroids cells, also with a shared one for tokens without an id
    total = weights.sum() + np.sqrt(np.count_nonzero(~is_id))
    has_cell = (weights * n_centroids >= total) & (counts >= _FEWEST_POINTS)
    shared = has_cell.sum()
    token_cells = np.full(len(counts), shared, np.int32)
    token_cells[has_cell] = np.arange(shared)
    cells = np.where(is_id, token_cells[np.where(is_id, token_ids, 0)], shared).astype(np.int64)
    if shared and not np.any(cells == shared):
        token_cells[~has_cell] = -1  # every sampled id has a cell; others search all centroids
    return token_cells, cells


def _are_ids(token_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    return np.asarray((token_ids >= 0) & (token_ids < _MOST_IDS))


def _coarse_cells(values: CentredTokens, n_centroids: int, seed: int) -> tuple[Floats, Ints]:
    most = min(_MOST_CELLS, max(1, len(values) // _FEWEST_POINTS))
    n_cells = int(np.clip(np.sqrt(n_centroids), 1, most))
    coarse = _kmeans(values, np.arange(len(values)), n_cells, seed)
    means = alone(coarse)
    chunks = np.array_split(np.arange(len(values)), -(-len(values) // _CHUNK))
    cells = np.concatenate([_nearest(means, values[chunk]) for chunk in chunks])
    used = np.unique(cells)  # a mean without tokens would be a cell without centroids
    return coarse[used], np.searchsorted(used, cells)


def _centroids_by_cell(values: CentredTokens, order: Ints, starts: Ints, n_centroids: int) -> Ints:
    """(n_cells,) numbers of centroids: more for cells with many and with scattered tokens."""
    sizes = np.diff(starts)
    spread = np.empty(len(sizes))
    for i in range(len(sizes)):
        tokens = order[starts[i] : starts[i + 1]]
        sample = values[tokens[:: max(1, len(tokens) // 256)]]
        spread[i] = sample.var(axis=0).sum() if len(sample) > 1 else 0.0
    weights = np.sqrt(sizes) * np.maximum(spread, 1e-6)
    most = np.maximum(1, sizes // _FEWEST_POINTS)
    counts = np.ones(len(sizes))
    for _ in range(8):  # what cells at their limit cannot use goes to the others
        is_open = counts < most
        left = n_centroids - counts[~is_open].sum()
        if left <= 0 or not is_open.any():
            break
        share = weights * is_open / max((weights * is_open).sum(), 1e-12) * left
        counts = np.where(is_open, np.clip(share, 1, most), counts)
    return np.maximum(1, np.floor(counts)).astype(np.int64)


def _kmeans(
    values: CentredTokens, tokens: Ints, k: int, seed: int, n_clustered: int | None = None
) -> Floats:
    """(k, dim) float32 means of the tokens, learnt from at most ``n_clustered`` of them."""
    if k == 1:
        if n_clustered is not None:
            tokens = tokens[:: -(-len(tokens) // n_clustered)]
        return np.asarray(values[tokens].mean(axis=0, keepdims=True, dtype=np.float32))
    most = k * POINTS_PER_CENTROID
    if n_clustered is not None:
        most = min(most, max(k, n_clustered))
    if len(tokens) > most:
        tokens = np.sort(np.random.default_rng(seed).choice(tokens, most, replace=False))
    kmeans = faiss.Kmeans(
        len(values.mean),
        k,
        niter=_ITERATIONS,
        seed=seed + 1,  # some versions of faiss take 0 for a seed of their own choice
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CENTROID,
    )
    n_threads = faiss.omp_get_max_threads()
    if k * len(tokens) < _FEWEST_PRODUCTS:
        faiss.omp_set_num_threads(1)
    try:
        kmeans.train(np.ascontiguousarray(values[tokens]))
    finally:
        faiss.omp_set_num_threads(n_threads)
    return np.asarray(kmeans.centroids, np.float32)
