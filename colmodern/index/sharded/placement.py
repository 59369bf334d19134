"""The shard that a document belongs to: the same on every machine and in every version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import xxhash

# manifests say how documents are placed
PLACEMENT: Literal["xxh3_64 of the doc_id, modulo the number of shards"] = (
    "xxh3_64 of the doc_id, modulo the number of shards"
)


def shard_of(doc_id: str, n_shards: int) -> int:
    """The shard that a document belongs to.

    Args:
        doc_id: Id of the document.
        n_shards: Number of shards.

    Returns:
        Number of the shard, from 0: XXH3 (64 bits, seed 0) of the id in UTF-8, modulo ``n_shards``.
    """
    # half a surrogate pair has no UTF-8: no document has such an id, and a caller may ask for it
    return xxhash.xxh3_64_intdigest(doc_id.encode("utf-8", "surrogatepass")) % n_shards


def shards_of(doc_ids: Iterable[str], n_shards: int) -> npt.NDArray[np.int64]:
    """(n_docs,) int64 ``shard_of`` each document."""
    return np.fromiter((shard_of(doc_id, n_shards) for doc_id in doc_ids), np.int64)


def ids_by_shard(doc_ids: Sequence[str], names: Iterable[str]) -> dict[str, list[str]]:
    """The ids that belong to each shard, in their order; names: of all shards."""
    parts: dict[str, list[str]] = {name: [] for name in names}
    lists = list(parts.values())
    for doc_id, number in zip(doc_ids, shards_of(doc_ids, len(lists)).tolist(), strict=True):
        lists[number].append(doc_id)
    return parts
