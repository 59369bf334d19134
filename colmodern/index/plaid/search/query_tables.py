"""A query's tables, made by kernels/cpu/query.py; with many centroids several threads share the work."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from colmodern.codecs.centroids import Centroids, alone
from colmodern.codecs.codec import Codec
from colmodern.kernels.cpu.query import fill_centroid_scores, prepare_query
from colmodern.kernels.types import (
    CentroidRows,
    Clusters,
    CodecArrays,
    EntryForm,
    QueryTables,
    WeightForm,
)
from colmodern.ragged.offsets import offsets_of
from colmodern.threads import Threads

_LARGEST_SUM = 32_767  # the largest int16
_LEAST_CHUNKS = 64  # a smaller share is not worth a thread


class SearchCodec:
    """A codec with what every search needs of it, made once when an index is opened."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        centroids, residuals, documents = codec.centroids, codec.residuals, codec.documents
        n_bytes = len(residuals.codebook)
        largest_entry = min(127, _LARGEST_SUM // n_bytes)
        shift = int(np.log2(_LARGEST_SUM / (largest_entry * n_bytes)))
        shared = residuals.shared
        self.arrays = CodecArrays(
            mean=codec.mean,
            centroids=centroids.values,
            centroid_scales=centroids.scales,
            centroid_sums=centroids.sums,
            longest=float(np.sqrt(2 * centroids.half_norms).max(initial=0.0)),
            codebook=residuals.codebook,
            gain_step=float(residuals.gain_step),
            form=EntryForm(largest_entry, shift) if shared is None else WeightForm(*shared),
            doc_codebook=np.ascontiguousarray(documents.codebook.transpose(0, 2, 1)),
            doc_gain_step=float(documents.gain_step),
            error=float(codec.error),
            reach=float(codec.reach),
            numbers=np.arange(len(centroids.values), dtype=np.int32),
            clusters=_clusters_of(centroids),
        )


def _clusters_of(centroids: Centroids) -> Clusters | None:
    """Clusters of centroids as kernels take them."""
    if centroids.clusters is None:
        return None
    sizes = np.bincount(centroids.clusters)
    sizes = sizes[sizes > 0]
    members, offsets = np.argsort(centroids.clusters, kind="stable"), offsets_of(sizes)
    means = np.empty((len(sizes), centroids.values.shape[1]), np.float32)
    for cluster, (start, stop) in enumerate(pairwise(offsets.tolist())):
        means[cluster] = centroids.decode(members[start:stop]).mean(axis=0)
    rounded = alone(means)
    rows = CentroidRows(rounded.values, rounded.scales, rounded.sums)
    # numba compiles one kernel for these and for centroids, which are mapped from files
    rows.values.flags.writeable = rows.scales.flags.writeable = False
    return Clusters(rows, members.astype(np.int32), offsets)


def make_tables(
    query: npt.NDArray[np.float32], search: SearchCodec, threads: Threads, n_clusters: int
) -> QueryTables:
    """Prepare a (n_query_tokens, dim) float32 query, at least one token.

    n_clusters: as in SearchBudget
    """
    tables: QueryTables = prepare_query(query, search.arrays, n_clusters)

    def fill(start: int, stop: int) -> None:
        fill_centroid_scores(tables, search.arrays, start, stop)

    threads.split(fill, tables.maxima.shape[1], least=_LEAST_CHUNKS)
    return tables
