"""Other fields of queries' records, and texts for models that are made from them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from colmodern.checks import shown, text_fault
from colmodern.datasets.records import id_field, read_records
from colmodern.errors import DataError, InputError
from colmodern.types import Dataset

_OWN = {"_id", "id", "qid", "query_id", "text"}
_FIELD = re.compile(r"\{([^{}]*)\}")


def read_query_fields(path: Path, query_ids: Container[str]) -> dict[str, dict[str, Any]]:
    """query_id -> fields of its record beside id and text, of the queries that have any.

    Args:
        path: A file that ``read_queries`` reads.
        query_ids: Queries whose fields are wanted.

    Raises:
        DataError: A line is malformed.
    """
    fields = {}
    for number, record in read_records(path):
        others = {name: value for name, value in record.items() if name not in _OWN}
        if others and (query_id := id_field(record, path, number)) in query_ids:
            fields[query_id] = others
    return fields


def with_template(dataset: Dataset, template: str) -> Dataset:
    """The data set with the text that a model reads for each query.

    Args:
        dataset: Any data set.
        template: A text with names of fields in braces, ``{text}`` for the query's own; a field
            that is null is empty. White space around the whole is left out.

    Raises:
        DataError: A query lacks a field, or its value is no text.
        InputError: The template has no field, or a brace alone.
    """
    names = _FIELD.findall(template)
    if not names or re.search(r"[{}]", _FIELD.sub("", template)):
        raise InputError(
            f"query_template={shown(template)}; write the names of fields in braces, as "
            "'{instruction} {text}'"
        )
    prompted = {}
    for query_id, text in dataset.queries.items():
        fields = {**dataset.query_fields.get(query_id, {}), "text": text}
        values = {name: _value(name, fields, query_id, dataset.name) for name in names}
        prompted[query_id] = _FIELD.sub(lambda m, v=values: v[m[1]], template).strip()  # type: ignore[misc]
    return dataclasses.replace(dataset, prompted=prompted)


def _value(name: str, fields: dict[str, object], query_id: str, dataset: str) -> str:
    if name not in fields:
        raise DataError(
            f"{dataset}: query {shown(query_id)} has no field {shown(name)}, which query_template asks "
            f"for; its fields are {', '.join(sorted(fields))}"
        )
    value = fields[name]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(
            f"{dataset}: field {shown(name)} of query {shown(query_id)} is {shown(value)}; a text or a "
            "number can stand in query_template"
        )
    if fault := text_fault(str(value)):
        raise DataError(
            f"{dataset}: field {shown(name)} of query {shown(query_id)} {fault}; fix it"
        )
    return str(value)
