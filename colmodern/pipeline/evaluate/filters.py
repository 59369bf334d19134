"""Filters and groups of an evaluation's searches, from its config and from fields of its files."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from colmodern.checks import shown
from colmodern.config.models import DatasetConfig, EvalConfig, SearchConfig
from colmodern.datasets.fetch import checked_split, set_folder
from colmodern.datasets.fields import read_query_filters
from colmodern.datasets.registry import named_sets
from colmodern.errors import ConfigError, DataError
from colmodern.files import sha256_of_json
from colmodern.index.fields.conditions import parse_filter
from colmodern.pipeline.open.data import source_of
from colmodern.pipeline.open.fields import DocumentFields, corpus_file, fields_from_file
from colmodern.pipeline.searchers.query_search import QueryFilters, QueryGroups
from colmodern.reading import user_path
from colmodern.types import Dataset

_log = logging.getLogger(__name__)


def searched_fields(config: EvalConfig, dataset: Dataset) -> DocumentFields | None:
    """The fields of the documents; None where the searches of an evaluation need none.

    Raises:
        ConfigError: The collection has no fields, or their file is missing.
        DataError: Their file is malformed.
    """
    search, file = config.search, config.dataset.fields
    if file is not None and not user_path(file, DataError).is_file():
        raise ConfigError(
            f"dataset.fields={file}: there is no such file; correct it, or leave it out"
        )
    if search.filter is None and search.filter_field is None and search.group_by is None:
        return None
    doc_ids = [document.doc_id for document in dataset.corpus]
    return DocumentFields(doc_ids, fields_from_file(_fields_file(config.dataset), doc_ids))


def query_filters(
    search: SearchConfig,
    reading: DatasetConfig,
    query_ids: Iterable[str],
    documents: DocumentFields | None,
) -> QueryFilters | None:
    """The documents that each query of an evaluation may return; None where it has no filter.

    Args:
        search: The filters.
        reading: Where the queries are.
        query_ids: The queries.
        documents: As ``searched_fields`` returns them.

    Raises:
        ConfigError: The queries are in no file.
        DataError: The file of queries is malformed.
        InputError: A filter is malformed, or names a field that no document has.
    """
    common, key = search.filter, search.filter_field
    if common is None and key is None:
        return None
    assert documents is not None, "a filter needs fields"
    own = {} if key is None else read_query_filters(_queries_file(reading), key)
    allowed: dict[str, list[str]] = {}
    by_query: dict[str, list[str] | None] = {}
    closed: dict[str, object] = {}  # queries that may return no document, and their filters
    for query_id in query_ids:
        name, filter = "search.filter", common
        if query_id in own:
            name = f"{key} of query {query_id!r}"
            filter = own[query_id] if common is None else {"and": [common, own[query_id]]}
        if filter is None:
            by_query[query_id] = None
            continue
        parse_filter(filter, name)  # text that has no UTF-8 has no digest
        digest = sha256_of_json(filter)
        if digest not in allowed:
            allowed[digest] = documents.ids(filter, name)
        by_query[query_id] = allowed[digest]
        if not allowed[digest]:
            closed[query_id] = filter
    if closed:
        query_id, example = next(iter(closed.items()))
        _log.warning(
            "no document meets the filter of %d of %d queries, such as %s of query %r: they get no results",
            len(closed),
            len(by_query),
            shown(example),
            query_id,
        )
    return QueryFilters(by_query, sha256_of_json(by_query))


def query_groups(
    field: str | None, documents: DocumentFields | None, left_out: Mapping[str, Collection[str]]
) -> QueryGroups | None:
    """What the documents are grouped by; None for no groups.

    Args:
        field: The field whose values make groups.
        documents: As ``searched_fields`` returns them.
        left_out: query_id -> documents that the query may not return.

    Raises:
        InputError: No document has the field, or one has several values in it.
    """
    if field is None:
        return None
    assert documents is not None, "a group needs fields"
    values = documents.values(field, "search.group_by")
    return QueryGroups(field, values, left_out, sha256_of_json([field, values]))


def _fields_file(config: DatasetConfig) -> Path:
    if config.fields is not None:
        return user_path(config.fields, DataError)
    path = corpus_file(source_of(config), config.split)
    if path is None:
        raise ConfigError(
            f"dataset.name={config.name}: its documents have no fields; give a file of them as "
            "dataset.fields"
        )
    return path


def _queries_file(config: DatasetConfig) -> Path:
    """The file of a collection's queries."""
    if config.queries is not None:
        return user_path(config.queries, DataError)
    folder = user_path(config.name, DataError)
    if os.path.isdir(folder):
        return folder / "queries.jsonl"
    if (named_set := named_sets().get(config.name)) is not None:
        return set_folder(named_set, checked_split(named_set, config.split)) / "queries.jsonl"
    raise ConfigError(
        f"dataset.name={config.name}: its queries are in no file, so search.filter_field has none to "
        "read; give a folder in the BEIR layout"
    )
