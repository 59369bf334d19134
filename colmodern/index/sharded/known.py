"""What shards know: the ids, among many, that they have, and the fields of their documents."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from colmodern.index.base import Index
from colmodern.index.fields.conditions import Schema, kinds_of
from colmodern.index.fields.values import Kind
from colmodern.index.sharded.fan_out import FanOut, facts_timeout


def known_ids(index: Container[object], doc_ids: Sequence[str]) -> list[str]:
    """The ids that an index has, in their order, with one request where it is elsewhere."""
    ask = getattr(index, "known_ids", None)
    return [doc_id for doc_id in doc_ids if doc_id in index] if ask is None else ask(doc_ids)


def schemas_of(
    shards: Mapping[str, Index], fan_out: FanOut, timeout_s: float | None
) -> dict[str, Schema]:
    """The fields of each shard that says which its documents have."""
    infos, _ = fan_out(
        {name: shard.info for name, shard in shards.items()}, facts_timeout(timeout_s)
    )
    return {
        name: {field: kinds_of(words) for field, words in info["fields"].items()}
        for name, info in infos.items()
        if "fields" in info
    }


def joined_schema(schemas: Iterable[Schema]) -> Schema:
    """The fields of all documents, from those of parts."""
    joined: dict[str, set[Kind]] = {}
    for schema in schemas:
        for field, kinds in schema.items():
            joined.setdefault(field, set()).update(kinds)
    return joined
