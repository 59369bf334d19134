"""Converts what callers pass into the arrays that embeddings consist of, or refuses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_count
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.ragged.finite import fault_of, first_unusable_row, is_finite

_LARGEST_ID = (1 << 31) - 1
_NARROW = ("bfloat16", "float8")  # names of dtypes that NumPy cannot compute with


def as_array(value: object, name: str) -> npt.NDArray[Any]:
    """A NumPy array of an array, a tensor on any device, or nested lists.

    Args:
        value: Tensors are recognized by their methods, so that torch need not be loaded. bfloat16
            becomes float32, which holds all of its values.
        name: Name of the argument, for messages.

    Raises:
        InputError: ``value`` cannot be read as one array.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"{name} has masked values; pass an array without them")
    if type(value) in (set, frozenset, dict) or isinstance(value, Mapping):
        raise InputError(f"{name} is a {type(value).__name__}; pass a NumPy array or a tensor")
    try:
        array = np.asarray(_on_host(value))
        # these dtypes come from ml_dtypes, as in JAX, and most of NumPy does not support them
        return array.astype(np.float32) if array.dtype.name.startswith(_NARROW) else array
    except Exception as error:  # array libraries raise many types
        raise InputError(
            f"{name} is {type(value).__name__}, which cannot be read as one array "
            f"({shown(str(error))}); pass a NumPy array or a tensor"
        ) from error


def _on_host(value: Any) -> object:
    """A NumPy array of a tensor; any other value is returned as it is."""
    if not (type(value).__module__.startswith("torch") and hasattr(value, "detach")):
        return value
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    if str(tensor.dtype).removeprefix("torch.").startswith(_NARROW):
        tensor = tensor.float()
    return tensor.numpy()


def as_values(value: object, name: str = "values") -> npt.NDArray[np.floating]:
    """A (n_tokens, dim) float16 or float32 array; wider floats become float32.

    Raises:
        InputError: The shape differs, or the numbers are not floats.
    """
    array = as_array(value, name)
    if array.ndim != 2:
        raise InputError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; "
            "pass one (n_tokens, dim) array of floats"
        )
    if array.dtype.kind != "f":
        cure = "one (n_tokens, dim) array of floats"
        if array.dtype.kind in "iub":
            cure += f", as {name}.astype('float32')"
        raise InputError(f"{name} has dtype {array.dtype}; pass {cure}")
    size, is_native = array.dtype.itemsize, array.dtype.isnative
    with np.errstate(over="ignore"):  # the check of values refuses infinity
        return array if size <= 4 and is_native else array.astype("f2" if size == 2 else "f4")


def as_offsets(value: object, n_tokens: int) -> npt.NDArray[np.int64]:
    """(n_docs + 1,) int64 offsets into ``n_tokens`` rows.

    Raises:
        InputError: The value is not whole numbers that rise from 0 to ``n_tokens``.
    """
    array = as_array(value, "offsets")
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0 or array[0] != 0:
        raise InputError("offsets must be (n_docs + 1,) whole numbers and begin with 0")
    if int(array[-1]) != n_tokens or np.any(array[1:] < array[:-1]):
        raise InputError(
            f"offsets must rise to the number of rows, {n_tokens}; they end at {array[-1]}"
        )
    return array.astype(np.int64, copy=False)


def as_token_ids(value: object, n_tokens: int) -> npt.NDArray[np.int32]:
    """(n_tokens,) int32 vocabulary ids.

    Raises:
        InputError: The shape differs, or a number does not fit into int32.
    """
    array = as_array(value, "token_ids")
    if array.shape != (n_tokens,):
        count = len(array) if array.ndim else 0
        raise InputError(
            f"token_ids has {count} entries for {n_tokens} rows; pass one id per row, or None"
        )
    if array.dtype.kind not in "iu" and len(array):
        raise InputError(f"token_ids has dtype {array.dtype}; pass whole numbers, or None")
    if array.dtype != np.int32 and len(array) and abs(int(array.max())) > _LARGEST_ID:
        raise InputError(f"token_ids has {array.max()}; pass ids of at most {_LARGEST_ID}")
    return array.astype(np.int32, copy=False)


def as_indices(value: object, n_docs: int) -> npt.NDArray[np.int64]:
    """(n,) int64 indices from 0 to ``n_docs`` - 1, from indices or a mask.

    A mask has one bool a text. A negative index counts from the end, as in Python.

    Raises:
        InputError: A mask has another length, an index is out of range, or the value is not whole
            numbers.
    """
    cure = "pass a list of indices, or a mask of one bool a text"
    if isinstance(value, str | bytes | Mapping | set | frozenset):
        raise InputError(f"indices is a {type(value).__name__}; {cure}")
    if isinstance(value, list | tuple) and len({isinstance(item, bool) for item in value}) > 1:
        raise InputError(f"indices has bools among numbers; {cure}")
    array = as_array(value, "indices")
    if array.ndim != 1:
        raise InputError(f"indices has shape {array.shape}; {cure}")
    if array.dtype == bool:
        if len(array) != n_docs:
            raise InputError(
                f"indices is a mask of {len(array)} entries for {n_docs} texts; pass one per text"
            )
        return np.flatnonzero(array).astype(np.int64)
    if len(array) == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"indices has dtype {array.dtype}; {cure}")
    is_outside = (array >= n_docs) | (array < -n_docs)
    if is_outside.any():
        position = int(np.argmax(is_outside))
        raise InputError(
            f"indices[{position}]={array[position]} is out of range for {n_docs} texts; "
            f"pass indices from 0 to {n_docs - 1}"
        )
    indices = array.astype(np.int64)
    return np.where(indices < 0, indices + n_docs, indices)


def as_texts(texts: Any, dim: int | None) -> tuple[list[npt.NDArray[np.floating]], int]:
    """One (n_tokens, dim) array a text, and their dim; a text without tokens may be ``[]``.

    Raises:
        InputError: A text is not such an array or has another dim; the message names it.
    """
    cure = "pass a list with one (n_tokens, dim) array a text"
    dim = None if dim is None else checked_count("dim", dim, least=0, most=_LARGEST_ID)
    if isinstance(texts, str | bytes | Mapping | set | frozenset) or not isinstance(
        texts, Iterable
    ):
        raise InputError(f"texts is a {type(texts).__name__}; {cure}")
    if getattr(texts, "ndim", 3) != 3:
        raise InputError(
            f"texts is one array of shape {tuple(getattr(texts, 'shape', ()))}; {cure}"
        )
    arrays, first = [], None
    for position, text in enumerate(texts):
        array = as_array(text, f"texts[{position}]")
        if array.shape == (0,):  # [] has no dim
            arrays.append(np.empty((0, 0), np.float32))
            continue
        values = as_values(array, f"texts[{position}]")
        if first is not None and values.shape[1] != arrays[first].shape[1]:
            raise InputError(
                f"texts[{position}] has dim={values.shape[1]}, texts[{first}] has "
                f"dim={arrays[first].shape[1]}; pass arrays of one dim"
            )
        arrays.append(values)
        first = position if first is None else first
    width = (dim or 0) if first is None else arrays[first].shape[1]
    if dim is not None and width != dim:
        raise InputError(f"dim={dim}, but texts[{first}] has dim={width}; leave dim out")
    return [a if a.shape[1] == width else np.empty((0, width), np.float32) for a in arrays], width


def refuse_infinite(
    values: npt.NDArray[np.floating], offsets: npt.NDArray[np.int64], name: str = "values"
) -> None:
    """Check that every value can be scored.

    Raises:
        InputError: A value cannot be scored; the message names its text.
    """
    if is_finite(values):
        return
    row = first_unusable_row(values)
    text = int(np.searchsorted(offsets, row, side="right")) - 1
    raise InputError(
        f"{name} of text {text} (counted from 0) have {fault_of(values[row])} in row "
        f"{row - int(offsets[text])} of it; encode it again"
    )
