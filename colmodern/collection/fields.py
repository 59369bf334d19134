"""Fields of a collection's documents, which its index keeps for filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from colmodern.arguments import listed
from colmodern.checks import shown, text_fault
from colmodern.collection.documents import StoredDocument
from colmodern.collection.manifest import CollectionManifest, FieldNames
from colmodern.errors import InputError
from colmodern.index.fields.conditions import parse_filter
from colmodern.index.fields.table import FieldTable, FieldWriter
from colmodern.passages import document_and_number

_CURE = "pass True, False, or a list of the keys that searches filter by"


class FieldReading:
    """Reads documents for an encoder, and keeps their fields on the way.

    Args:
        names: The fields to keep: True for all, False for none.
    """

    def __init__(self, names: FieldNames) -> None:
        self._writer = FieldWriter("documents", None if isinstance(names, bool) else names)
        self._is_kept = names is not False

    def through(self, documents: Iterable[StoredDocument]) -> Iterator[StoredDocument]:
        """The same documents."""
        for document in documents:
            self._writer.add(document.fields if self._is_kept else {})
            yield document

    def table(self) -> FieldTable:
        """The fields of the documents that were read."""
        return self._writer.finish()


def fields_of_passages(table: FieldTable, ids: Iterable[str]) -> FieldTable:
    """Fields of documents as those of their passages.

    Args:
        table: Fields of the documents.
        ids: Ids of all passages, document by document.
    """
    numbers: dict[str, int] = {}
    documents = (document_and_number(passage)[0] for passage in ids)
    return table.select(
        np.array([numbers.setdefault(d, len(numbers)) for d in documents], np.int64)
    )


def fields_of(documents: Iterable[StoredDocument], names: FieldNames) -> FieldTable:
    """The fields of documents; names: as in FieldReading."""
    reading = FieldReading(names)
    for _ in reading.through(documents):
        pass
    return reading.table()


def checked_names(fields: object) -> FieldNames:
    """The fields that a collection keeps; raises InputError for what does not say so."""
    if isinstance(fields, bool):
        return fields
    names = listed("fields", fields, _CURE, is_ordered=False)
    for name in names:
        if not isinstance(name, str) or not name or text_fault(name):
            raise InputError(f"fields has {shown(name)}; {_CURE}")
    return tuple(sorted(set(names)))


def expect_filter(filter: object, manifest: CollectionManifest, folder: Path) -> None:
    """Raise InputError for a filter on fields that is none, or that the collection cannot answer."""
    if not isinstance(filter, Mapping):
        return
    if manifest.fields is False:
        raise InputError(
            f"filter={shown(filter)}, but {folder} was created without fields; create it again with "
            "fields=True"
        )
    if manifest.index is None:  # an index parses it itself
        parse_filter(filter)
