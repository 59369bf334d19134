"""Checks of the embeddings of queries and documents that callers hand to an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.ragged.convert import as_array
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import fault_of, first_unusable_row, is_finite
from colmodern.ragged.store import EmbeddingStore

Embeddings = TokenEmbeddings | EmbeddingStore
Floats = npt.NDArray[np.float32]


def _as_query(value: object, name: str) -> npt.NDArray[Any]:
    """One query as an array; raises InputError for many of them, and for what is not an array."""
    if isinstance(value, TokenEmbeddings | EmbeddingStore):
        raise InputError(
            f"{name} is {type(value).__name__}; pass one (n_tokens, dim) array, as value[0], or "
            "use search_batch"
        )
    if value is None or isinstance(value, str | bytes | bytearray | Mapping | set | frozenset):
        raise InputError(f"{name}={shown(value)}; pass a (n_query_tokens, dim) array of embeddings")
    return as_array(value, name)


def query_values(query: object, dim: int, name: str = "query") -> Floats:
    """A query's embeddings as contiguous float32 rows.

    Args:
        query: (n_query_tokens, dim) array, tensor or nested lists of floats of any width.
        dim: Width of the index's embeddings.
        name: Name of the query in messages.

    Returns:
        (n_query_tokens, dim) float32; no rows for a query without tokens.

    Raises:
        InputError: Another shape, dtype or dim, or values that are not finite or too large.
    """
    array = _as_query(query, name)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; pass (n_query_tokens, dim) "
            "embeddings of floats, one query at a time" + _cure_of(array)
        )
    expect_dim(name, array.shape[1], dim)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, np.float32)
    if not is_finite(values):
        row = first_unusable_row(values)
        raise InputError(f"{name} has {fault_of(values[row])} in row {row}; encode it again")
    return values


def query_batch(queries: object, dim: int) -> TokenEmbeddings:
    """Many queries as TokenEmbeddings with contiguous float32 values.

    Args:
        queries: TokenEmbeddings, or an EmbeddingStore of queries.
        dim: Width of the index's embeddings.

    Raises:
        InputError: Anything else, another dim, or values that are not finite or too large.
    """
    queries = expect_embeddings("queries", queries)
    if isinstance(queries, EmbeddingStore):
        queries = queries.to_memory()
    if len(queries) == 0:
        return queries
    expect_dim("queries", queries.dim, dim)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(queries.values, np.float32)
    if not is_finite(values):
        row = first_unusable_row(values)
        number = int(np.searchsorted(queries.offsets, row, side="right")) - 1
        raise InputError(
            f"queries[{number}] has {fault_of(values[row])} in row {row - queries.offsets[number]}; "
            "encode it again"
        )
    return queries if values is queries.values else replace(queries, values=values)


def expect_embeddings(name: str, embeddings: object) -> TokenEmbeddings | EmbeddingStore:
    """The same embeddings; raises InputError for lists of arrays and anything else."""
    if isinstance(embeddings, TokenEmbeddings | EmbeddingStore):
        return embeddings
    try:
        shape = f" of shape {tuple(embeddings.shape)}"  # type: ignore[attr-defined]
    except Exception:  # most have none, and nested tensors raise an error of their own
        shape = ""
    raise InputError(
        f"{name} is {type(embeddings).__name__}{shape}; pass TokenEmbeddings, which "
        "TokenEmbeddings.from_list makes of one (n_tokens, dim) array per text, or EmbeddingStore(path)"
    )


def expect_dim(name: str, dim: int, index_dim: int) -> None:
    """Raise InputError for another dim than the index's."""
    if dim != index_dim:
        raise InputError(
            f"{name} has dim={dim}, the index has dim={index_dim}; encode both with the same encoder"
        )


def _cure_of(array: npt.NDArray[np.generic]) -> str:
    if array.ndim == 3:
        return ", or many with search_batch and TokenEmbeddings.from_list(list(queries))"
    return ""
