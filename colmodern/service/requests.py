"""What the bodies of requests have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from colmodern.checks import text_fault
from colmodern.service.errors import ServiceError, unknown_document

Item = TypeVar("Item")
# a message on each of a million wrong items would fill the memory
Items = Annotated[list[Item], Field(fail_fast=True)]
_MOST_UNKNOWN = 10  # unknown fields that a message lists
TimeoutMs = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="milliseconds in which to answer; later the answer is status 503",
    ),
]


class RequestBody(BaseModel):
    """A body that refuses unknown fields, and values of another type: "3" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: object) -> object:
        if isinstance(value, dict) and len(value) > len(cls.model_fields) + _MOST_UNKNOWN:
            raise ValueError(f"{len(value):,} fields, most of them unknown")
        return value


def expect_count(name: str, count: int, most: int) -> None:
    """Raise ServiceError (422) for more items than the server's limits allow."""
    if count > most:
        raise ServiceError(
            422,
            "too_many",
            f"{name} has {count:,} items, and this server takes {most:,}",
            f"send at most {most:,} at a time",
        )


def expect_id(name: str, doc_id: str, longest: int) -> None:
    """Raise ServiceError (422) for an id of more characters than the server's limits allow."""
    if len(doc_id) > longest:
        raise ServiceError(
            422,
            "invalid_value",
            f"{name} has {len(doc_id):,} characters, and this server takes {longest:,}",
            "use a shorter id, or raise limits.id_length in the server's settings",
        )


class SupportsContains(Protocol):
    """An index or collection that can be asked for a document."""

    def __contains__(self, doc_id: str, /) -> bool:
        """Whether it has a document."""


def expect_document(doc_id: str, documents: SupportsContains, name: str) -> None:
    """Raise ServiceError (404) for a document that the index called ``name`` does not have."""
    if doc_id not in documents:
        raise unknown_document(doc_id, name)


def expect_filter_size(filter: object, most: int) -> None:
    """Raise ServiceError (422) for a filter of more values than the server's limits allow."""
    count, nodes = 0, [filter]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
        else:
            count += 1
    if count > most:
        raise ServiceError(
            422,
            "too_many",
            f"filter has {count:,} values, and this server takes {most:,}",
            "filter by fewer values, or raise limits.filter_values in the server's settings",
        )


def expect_text(name: str, text: str, *, longest: int, is_query: bool = False) -> None:
    """Raise ServiceError (422) for a text that cannot be encoded.

    Args:
        name: What the request calls it.
        text: The text.
        longest: Characters that the server's limits allow.
        is_query: Whether it must not be empty.
    """
    if len(text) > longest:
        raise ServiceError(
            422,
            "text_too_long",
            f"{name} has {len(text):,} characters, and this server takes {longest:,}",
            "send a shorter text, or raise limits.text_length in the server's settings",
        )
    if is_query and not text.strip():
        raise ServiceError(422, "invalid_value", f"{name} is empty", "send a query with some text")
    if fault := text_fault(text):
        raise ServiceError(422, "invalid_value", f"{name} {fault}", "send valid Unicode")


def expect_texts(
    name: str, texts: Sequence[str], *, most: int, longest: int, is_query: bool = False
) -> None:
    """Raise ServiceError (422) for too many texts, or one that cannot be encoded.

    Args:
        name: What the request calls them.
        texts: The texts.
        most: Texts that the server's limits allow.
        longest: Characters of a text that they allow.
        is_query: Whether none may be empty.
    """
    expect_count(name, len(texts), most)
    for position, text in enumerate(texts):
        expect_text(f"{name}[{position}]", text, longest=longest, is_query=is_query)
