"""What a search is asked, checked at the border."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.ragged.embeddings import TokenEmbeddings

Floats = npt.NDArray[np.float32]


def checked_query(query: npt.ArrayLike, dim: int) -> Floats:
    """The query as float32 rows, one of zeros for none: MaxSim of no token is 0 for all.

    Raises InputError for another shape or dim, or values that are not finite.
    """
    given = np.asarray(query)
    if given.ndim != 2 or not np.issubdtype(given.dtype, np.number):
        raise InputError(
            f"query has shape {given.shape} and dtype {given.dtype}; pass (n_query_tokens, dim) "
            "embeddings"
        )
    _expect_dim("query", given.shape[1], dim)
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(given, np.float32)
    if not np.isfinite(rows).all():
        raise InputError("query has values that are not finite; encode it again")
    return rows if len(rows) else np.zeros((1, dim), np.float32)


def expect_queries(queries: TokenEmbeddings, dim: int) -> None:
    """Raise InputError for queries of another dim or with values that are not finite."""
    if len(queries) == 0:
        return
    _expect_dim("queries", queries.dim, dim)
    fine = np.isfinite(queries.values).all(axis=1)
    if not fine.all():
        number = int(np.searchsorted(queries.offsets, np.argmin(fine), side="right")) - 1
        raise InputError(f"queries[{number}] has values that are not finite; encode it again")


def expect_encoder(given: str | None, mine: str | None) -> None:
    """Raise InputError when both fingerprints are known and differ."""
    if given is not None and mine is not None and given != mine:
        raise InputError(
            f"fingerprint={given[:12]} is not the index's {mine[:12]}: it was built with "
            "another encoder or other encoder settings; encode with the same, or build again"
        )


def expect_counts(**counts: Any) -> None:
    """Raise InputError for a count that is neither None nor a whole number of at least 1."""
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise InputError(f"{name}={value!r}; ask for a whole number, at least 1")


def _expect_dim(name: str, given: int, dim: int) -> None:
    if given != dim:
        raise InputError(
            f"{name} has dim={given}, the index has dim={dim}; encode both with the same encoder"
        )
