"""The filters of an evaluation's queries, from its config and from a field of queries.jsonl."""

from __future__ import annotations

import os
from pathlib import Path

from colmodern.config.models import DatasetConfig, EvalConfig
from colmodern.datasets.fetch import checked_split, set_folder
from colmodern.datasets.fields import read_query_filters
from colmodern.datasets.registry import named_sets
from colmodern.errors import ConfigError, DataError
from colmodern.files import sha256_of_json
from colmodern.index.fields.conditions import parse_filter
from colmodern.pipeline.open.data import source_of
from colmodern.pipeline.open.fields import DocumentFields, corpus_file, fields_from_file
from colmodern.pipeline.searchers.base import QueryFilters
from colmodern.reading import user_path
from colmodern.types import Dataset


def query_filters(config: EvalConfig, dataset: Dataset) -> QueryFilters | None:
    """The documents that each query of an evaluation may return; None where it has no filter.

    Raises:
        ConfigError: The collection has no fields.
        DataError: A file of fields or queries is malformed.
        InputError: A filter is none, or names a field that no document has.
    """
    common, key = config.search.filter, config.search.filter_field
    if common is None and key is None:
        return None
    own = {} if key is None else read_query_filters(_queries_file(config.dataset), key)
    doc_ids = [document.doc_id for document in dataset.corpus]
    documents = DocumentFields(doc_ids, fields_from_file(_fields_file(config.dataset), doc_ids))
    allowed: dict[str, list[str]] = {}
    by_query: dict[str, list[str] | None] = {}
    for query_id in dataset.queries:
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
    return QueryFilters(by_query, sha256_of_json(by_query))


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
