"""Token embeddings in JSON: lists of numbers, or the bytes of an array in base64."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.errors import ServiceError, unfit
from colmodern.service.requests import Items, RequestBody

Rows = Items[Items[float]]


class EmbeddedText(RequestBody):
    """The token embeddings of one text, as ``data`` of POST /v1/encode has them."""

    embedding: Rows | str = Field(
        description="rows of numbers, or the bytes of an array in base64: rows one after another, "
        "little-endian"
    )
    shape: Annotated[tuple[int, int], Field(strict=False)] | None = Field(  # JSON has no tuples
        None, description="number of tokens and dim; needed with base64"
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="type of base64's numbers")
    index: int | None = Field(None, description="ignored")
    object: str | None = Field(None, description="ignored")


def array_of(name: str, value: Rows | EmbeddedText) -> npt.NDArray[np.float32]:
    """The embeddings of one text as (n_tokens, dim) float32.

    Args:
        name: What the request calls them.
        value: As they were sent.

    Raises:
        ServiceError: The rows have different lengths, or the bytes another shape.
    """
    item = value if isinstance(value, EmbeddedText) else None
    embedding = value.embedding if isinstance(value, EmbeddedText) else value
    if isinstance(embedding, str):
        array = _of_base64(name, embedding, item)
    else:
        if len({len(row) for row in embedding}) > 1:
            raise _unusable(name, "has rows of different lengths", "send one row per token")
        if not embedding or not embedding[0]:
            raise _unusable(name, "has no numbers", "send one row per token")
        with np.errstate(over="ignore"):  # what is too large is refused below
            array = np.array(embedding, np.float32)
    if not np.isfinite(array).all():
        raise _unusable(name, "has numbers that are not finite", "encode the text again")
    if item is not None and item.shape is not None and item.shape != array.shape:
        raise _unusable(
            name, f"has shape {list(array.shape)}, not {list(item.shape)}", "correct shape"
        )
    return array


def embeddings_of(
    arrays: Sequence[npt.NDArray[np.floating]], name: str, dim: int, fingerprint: str | None
) -> TokenEmbeddings:
    """Arrays as embeddings for an index.

    Args:
        arrays: (n_tokens, dim) each.
        name: The field of the request that has them.
        dim: Width of a token embedding in the index.
        fingerprint: Fingerprint of their encoder, as the request has it.

    Raises:
        ServiceError: An array has another dim (422).
    """
    for i, array in enumerate(arrays):
        if array.shape[1] != dim:
            raise unfit(
                f"{name}[{i}] has dim {array.shape[1]}, and the index {dim}",
                "encode with the model of the index",
            )
    embeddings = TokenEmbeddings.from_list(list(arrays))
    return TokenEmbeddings(embeddings.values, embeddings.offsets, fingerprint=fingerprint)


def _of_base64(name: str, text: str, item: EmbeddedText | None) -> npt.NDArray[np.float32]:
    if item is None or item.shape is None:
        raise _unusable(name, "is in base64 without shape", "send the number of tokens and dim")
    try:
        values = np.frombuffer(
            b64decode(text, validate=True), np.dtype(item.dtype).newbyteorder("<")
        )
    except (binascii.Error, ValueError) as error:
        raise _unusable(
            name, f"is no base64 of {item.dtype} numbers ({error})", "encode the array's bytes"
        ) from error
    n_tokens, dim = item.shape
    if n_tokens < 1 or dim < 1 or n_tokens * dim != len(values):
        raise _unusable(
            name,
            f"has {len(values):,} numbers, which are not {n_tokens} rows of {dim}",
            "correct shape or dtype",
        )
    return np.asarray(values.reshape(n_tokens, dim), np.float32)


def _unusable(name: str, fault: str, cure: str) -> ServiceError:
    return unfit(f"{name} {fault}", cure)
