"""What callers hand to an index, checked at the border: queries, document ids, counts."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.index.finite import fault_of, first_unusable_row, is_finite
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

Floats = npt.NDArray[np.float32]

_JOINED = 65536  # ids whose characters are looked at together
_NARROW_FLOATS = ("bfloat16", "float8")  # names of dtypes that NumPy cannot compute with


def as_array(value: object, name: str) -> npt.NDArray[Any]:
    """An array of what a caller passes as one: an array, nested lists, or a tensor of any device.

    Tensors are recognised without importing torch; bfloat16 becomes float32. Raises InputError for
    what is no array of numbers.
    """
    if isinstance(value, TokenEmbeddings | EmbeddingStore):
        raise InputError(
            f"{name} is {type(value).__name__}; pass one (n_tokens, dim) array, as value[0], or "
            "use search_batch"
        )
    if value is None or isinstance(value, str | bytes | bytearray | Mapping | set | frozenset):
        raise InputError(f"{name}={brief(value)}; pass a (n_query_tokens, dim) array of embeddings")
    try:
        array = np.asarray(_on_host(value))
    except Exception as error:
        # libraries of arrays raise what they like: ValueError, TypeError, errors of their own
        raise InputError(
            f"{name} is {type(value).__name__}, which NumPy cannot read as one array "
            f"({brief(str(error))}); pass a (n_query_tokens, dim) array of embeddings"
        ) from error
    if array.dtype.name.startswith(_NARROW_FLOATS):
        return array.astype(np.float32)
    return array


def query_rows(query: object, dim: int, name: str = "query") -> Floats:
    """A query's embeddings as contiguous float32 rows.

    Args:
        query: (n_query_tokens, dim) array, tensor or nested lists of floats of any width.
        dim: Width of the index's embeddings.
        name: Of the query in messages.

    Returns:
        (n_query_tokens, dim) float32; no rows for a query without tokens.

    Raises:
        InputError: Another shape, dtype or dim, or values that are not finite or too large.
    """
    array = as_array(query, name)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; pass (n_query_tokens, dim) "
            "embeddings of floats, one query at a time" + _cure_of(array)
        )
    expect_dim(name, array.shape[1], dim)
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(array, np.float32)
    if not is_finite(rows):
        row = first_unusable_row(rows)
        raise InputError(f"{name} has {fault_of(rows[row])} in row {row}; encode it again")
    return rows


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
    shape = f" of shape {tuple(embeddings.shape)}" if hasattr(embeddings, "shape") else ""
    raise InputError(
        f"{name} is {type(embeddings).__name__}{shape}; pass TokenEmbeddings, which "
        "TokenEmbeddings.from_list makes of one (n_tokens, dim) array per text, or EmbeddingStore(path)"
    )


def expect_dim(name: str, given: int, dim: int) -> None:
    """Raise InputError for another dim than the index's."""
    if given != dim:
        raise InputError(
            f"{name} has dim={given}, the index has dim={dim}; encode both with the same encoder"
        )


def expect_counts(**counts: Any) -> None:
    """Raise InputError for a count that is neither None nor a whole number of at least 1."""
    for name, value in counts.items():
        is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if value is not None and (not is_whole or value < 1):
            raise InputError(f"{name}={brief(value)}; ask for a whole number, at least 1")


def checked_k(k: Any) -> int:
    """The number of results; raises InputError for all but a whole number of at least 1."""
    if k is None:
        raise InputError("k=None; ask for a whole number, at least 1")
    expect_counts(k=k)
    return int(k)


def id_list(name: str, ids: object, *, is_ordered: bool) -> list[str]:
    """Document ids as a list of plain strings.

    Args:
        name: Of the argument in messages.
        ids: A list, tuple, array, generator or other iterable of strings.
        is_ordered: One id stands for one document, so that a set says nothing.

    Raises:
        InputError: One string, a mapping, an unordered set, or an id that is no string.
    """
    if isinstance(ids, str | bytes | bytearray):
        raise InputError(f"{name}={brief(ids)} is one text; pass a list of ids")
    if isinstance(ids, Mapping):
        raise InputError(f"{name}={brief(ids)} is a mapping; pass a list of ids")
    if is_ordered and isinstance(ids, set | frozenset):
        raise InputError(f"{name} is a set, which has no order; pass a list, one id a document")
    if not isinstance(ids, Iterable):
        raise InputError(f"{name}={brief(ids)}; pass a list of ids")
    if hasattr(ids, "columns"):  # a table, which iterates over the names of its columns
        raise InputError(f"{name} is a {type(ids).__name__}; pass the column that holds the ids")
    try:
        listed = list(ids)
    except TypeError as error:  # an array without dimensions says that it can be iterated
        raise InputError(f"{name}={brief(ids)}; pass a list of ids") from error
    kinds = set(map(type, listed))
    if kinds <= {str}:
        return listed
    for position, one in enumerate(listed):
        if not isinstance(one, str):
            raise InputError(
                f"{name} has ids that are not strings: {name}[{position}] is "
                f"{type(one).__name__} {brief(one)}; pass strings, as str(id)"
            )
    return [str(one) for one in listed]


def checked_doc_ids(doc_ids: object, n_docs: int) -> list[str]:
    """One unique id a document, as a list.

    Raises InputError for what id_list refuses, another number of ids than of documents, and an id
    that repeats, is empty, or holds NUL or half a surrogate pair.
    """
    ids = one_id_a_document(doc_ids, n_docs)
    if len(set(ids)) != len(ids):
        first: dict[str, int] = {}
        for position, doc_id in enumerate(ids):
            if (before := first.setdefault(doc_id, position)) != position:
                raise InputError(
                    f"doc_ids has repeated ids: doc_ids[{before}] and doc_ids[{position}] are both "
                    f"{doc_id!r}; make ids unique"
                )
    return ids


def one_id_a_document(doc_ids: object, n_docs: int) -> list[str]:
    """As checked_doc_ids, but for ids that repeat: writing them to disk finds those."""
    ids = id_list("doc_ids", doc_ids, is_ordered=True)
    if len(ids) != n_docs:
        raise InputError(
            f"doc_ids has {len(ids)} entries for {n_docs} documents; pass one id a document"
        )
    for start in range(0, len(ids), _JOINED):
        some = ids[start : start + _JOINED]
        if not (all(some) and _is_plain("".join(some))):
            position = next(i for i, one in enumerate(some) if not (one and _is_plain(one)))
            raise InputError(_fault_of_id(ids[start + position], start + position))
    return ids


def has_half_pair(text: str) -> bool:
    """Whether a text holds half a surrogate pair, and so cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def brief(value: object) -> str:
    """A value's repr, cut where it is long."""
    return reprlib.repr(value)


def _is_plain(text: str) -> bool:
    """Whether a text has neither NUL nor half a surrogate pair."""
    return "\0" not in text and not has_half_pair(text)


def _fault_of_id(doc_id: str, position: int) -> str:
    if not doc_id:
        return f"doc_ids[{position}] is empty; give every document an id"
    if "\0" in doc_id:
        return f"doc_ids[{position}] is {doc_id!r}, which holds NUL; mend it"
    return (
        f"doc_ids[{position}] is {doc_id!r}, which has half a surrogate pair and no UTF-8; mend it"
    )


def _cure_of(array: npt.NDArray[Any]) -> str:
    if array.ndim == 3:
        return ", or many with search_batch and TokenEmbeddings.from_list(list(queries))"
    return ""


def _on_host(value: Any) -> Any:
    """A tensor as an array on the host, anything else as it is."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError("it has masked values")
    if not (type(value).__module__.startswith("torch") and hasattr(value, "detach")):
        return value
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    if str(tensor.dtype).removeprefix("torch.").startswith(_NARROW_FLOATS):
        tensor = tensor.float()
    return tensor.numpy()
