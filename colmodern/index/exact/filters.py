"""Filters and groups of an exact index, whose fields are in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from colmodern.errors import InputError
from colmodern.index.fields.conditions import expect_fields, field_kinds, parse_filter
from colmodern.index.fields.masks import mask_of
from colmodern.index.fields.table import FieldTable
from colmodern.index.filters import (
    DocFilter,
    Filter,
    Mask,
    allowed_ids,
    answers,
    count_unknown,
)
from colmodern.index.pages import GroupsOf, single_value
from colmodern.types import Scalar


def filter_mask(
    allowed: Filter, doc_ids: Sequence[str], numbers: Mapping[str, int], table: FieldTable
) -> Mask:
    """(n_docs,) the documents that a search may return.

    Args:
        allowed: Conditions on fields, ids, or a function of an id.
        doc_ids: (n_docs,) ids of the documents.
        numbers: The position of each id.
        table: Fields of the documents.

    Raises:
        InputError: It is none of these, names an unknown field, or has only unknown ids.
    """
    if isinstance(allowed, DocFilter):
        raise InputError("filter was made by another index; pass conditions, ids or a function")
    if isinstance(allowed, Mapping):
        condition = parse_filter(allowed)
        expect_fields(condition, table.schema)
        return mask_of(table, condition)
    if callable(allowed):
        return answers(allowed, doc_ids, len(doc_ids))
    ids = allowed_ids(allowed)
    docs = np.array([numbers.get(doc_id, -1) for doc_id in ids], np.int64)
    count_unknown(ids, docs >= 0, is_empty=not doc_ids)
    mask = np.zeros(len(doc_ids), np.bool_)
    mask[docs[docs >= 0]] = True
    return mask


def groups_by(field: str | None, number_of: Callable[[str], int], table: FieldTable) -> GroupsOf:
    """A function that gives each document's value of a field.

    Args:
        field: The field; None for no groups.
        number_of: Gives the position of an id.
        table: Fields of the documents.

    Raises:
        InputError: No document has the field.
    """
    if field is None:
        return lambda doc_ids: [None] * len(doc_ids)
    name: str = field
    field_kinds(name, table.schema, "group_by")

    def groups_of(doc_ids: Sequence[str]) -> Sequence[Scalar | None]:
        return [
            single_value(table.values_of(name, number_of(doc_id)), doc_id, name)
            for doc_id in doc_ids
        ]

    return groups_of
