"""A filter of a sharded index, as each shard gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.base import Index
from colmodern.index.filters import DocFilter, allowed_ids, count_unknown
from colmodern.index.sharded.known import known_ids
from colmodern.index.sharded.placement import ids_by_shard

# ids -> those that each shard has, and the errors of shards that do not say
KnownIds: TypeAlias = Callable[[list[str]], tuple[dict[str, list[str]], dict[str, Exception]]]


def split_filter(
    allowed: object, shards: Mapping[str, Index], ask: KnownIds | None
) -> dict[str, dict[str, object]]:
    """The options of each shard that has to be searched; others have none of the allowed documents.

    Args:
        allowed: Ids of documents, conditions on fields, a function of an id, or None.
        shards: All shards.
        ask: Says which ids each shard has; None where ids say which shard they are of. A shard that does
            not answer gets all ids: its search fails, too, or finds out.

    Raises:
        InputError: Ids that are no texts, or none of which a shard has; or a filter that was made
            for one index.
    """
    if allowed is None:
        return {name: {} for name in shards}
    if isinstance(allowed, DocFilter):
        raise InputError(
            "filter was made by one index, and there are several shards; pass the ids, or the "
            "conditions, themselves"
        )
    if isinstance(allowed, Mapping) or callable(allowed):
        return {name: {"filter": allowed} for name in shards}
    ids = allowed_ids(allowed)
    if ask is None:
        by_shard = ids_by_shard(ids, shards)
    else:
        answers, errors = ask(ids)
        by_shard = {name: answers.get(name, ids) for name in shards}
        if not errors:
            known = {doc_id for own in by_shard.values() for doc_id in own}
            is_known = np.array([doc_id in known for doc_id in ids], np.bool_)
            count_unknown(ids, is_known, is_empty=False)
    if not ids:  # no document is allowed: one shard says so
        return {next(iter(shards)): {"filter": ids}}
    return {name: {"filter": own} for name, own in by_shard.items() if own}


def lacks_all(shard: Index, options: Mapping[str, object]) -> bool:
    """Whether a search failed because a shard has none of the ids of its filter."""
    allowed = options.get("filter")
    return isinstance(allowed, list) and not known_ids(shard, allowed)


def unknown_ids_error(ids: object) -> InputError:
    """The error of a filter whose ids no shard has."""
    listed = allowed_ids(ids)
    return InputError(
        f"filter has {len(listed)} ids, and the shards have none of them (the first is "
        f"{shown(listed[0])}), so that no document could be returned; check the ids"
    )
