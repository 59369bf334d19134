"""Fields of the documents that are searched, from the files of a collection."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.datasets.fetch import checked_split, set_folder
from colmodern.datasets.fields import read_fields
from colmodern.datasets.registry import named_sets
from colmodern.errors import DataError, InputError
from colmodern.index.fields.conditions import expect_fields, field_kinds, parse_filter
from colmodern.index.fields.masks import mask_of
from colmodern.index.fields.table import FieldTable, FieldWriter
from colmodern.index.pages import single_value
from colmodern.pipeline.run_folder import ENVIRONMENT, is_run
from colmodern.pipeline.stored_files import read_run_file
from colmodern.reading import user_path
from colmodern.types import Scalar


class DocumentFields:
    """Documents by id, with their fields.

    Attributes:
        doc_ids: (n_docs,) ids.
        table: Their fields.
    """

    def __init__(self, doc_ids: Sequence[str], table: FieldTable) -> None:
        self.doc_ids = doc_ids
        self.table = table

    def ids(self, filter: Mapping[str, Any], name: str) -> list[str]:
        """The documents that meet a filter; name: of the filter in messages.

        Raises:
            InputError: It is no filter, or names a field that no document has.
        """
        condition = parse_filter(filter, name)
        expect_fields(condition, self.table.schema, name)
        numbers = np.flatnonzero(mask_of(self.table, condition))
        return [self.doc_ids[number] for number in numbers.tolist()]

    def values(self, field: str, name: str) -> dict[str, Scalar | None]:
        """doc_id -> value in a field, None without one; name: of the setting in messages.

        Raises:
            InputError: No document has the field, or one has several values in it.
        """
        field_kinds(field, self.table.schema, name)
        return {
            doc_id: single_value(self.table.values_of(field, number), doc_id, field, name)
            for number, doc_id in enumerate(self.doc_ids)
        }


def fields_from_file(path: Path, doc_ids: Sequence[str]) -> FieldTable:
    """The fields of documents, from a file that may hold them in another order, and others.

    Args:
        path: As ``read_fields`` takes it.
        doc_ids: (n_docs,) the documents.

    Raises:
        DataError: The file is malformed, has an id twice, or has none of the documents.
        InputError: A value cannot be a field's.
    """
    writer, numbers = FieldWriter(str(path)), dict[str, int]()
    for doc_id, record in read_fields(path):
        if doc_id in numbers:
            raise DataError(f"{path} has the id {doc_id!r} twice; give every document one record")
        numbers[doc_id] = len(numbers)
        writer.add(record)
    if doc_ids and not any(doc_id in numbers for doc_id in doc_ids):
        raise DataError(
            f"{path} has {len(numbers):,} ids and none of the documents, as {doc_ids[0]!r}; give the "
            "file of these documents"
        )
    nothing = len(numbers)
    writer.add({})  # for documents that the file lacks
    return writer.finish().select(np.array([numbers.get(doc_id, nothing) for doc_id in doc_ids]))


def corpus_file(source: str, split: str | None = None) -> Path | None:
    """The file of a collection's documents; None where there is none on this machine.

    Args:
        source: A folder in the BEIR layout, a file of documents, or the name of a fetched set.
        split: Split of a fetched set, whose splits may differ in their documents.
    """
    path = user_path(source, DataError)
    if os.path.isdir(path):
        return path / "corpus.jsonl"
    if os.path.exists(path):
        return path
    if (named_set := named_sets().get(source)) is not None:
        return set_folder(named_set, checked_split(named_set, split)) / "corpus.jsonl"
    return None


def fields_of_run(folder: Path, doc_ids: Sequence[str]) -> FieldTable:
    """The fields of the documents of a run, from the collection that it was evaluated on.

    Raises:
        InputError: The folder is no run, or its collection is not on this machine.
    """
    source = read_run_file(folder, ENVIRONMENT)["dataset"].get("source") if is_run(folder) else None
    path = None if source is None else corpus_file(source)
    if path is None:
        raise InputError(
            f"{folder} does not lead to the fields of its documents; search an index that was built "
            "with --fields, or a collection"
        )
    return fields_from_file(path, doc_ids)
