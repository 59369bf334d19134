"""Writes the fields of a segment's documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colmodern.disk import remove
from colmodern.files import naming_write_errors
from colmodern.index.fields.files import FIELDS, to_bytes
from colmodern.index.fields.table import FieldTable, joined
from colmodern.index.fields.values import Kind
from colmodern.index.plaid.disk.verify import verified_fields
from colmodern.index.plaid.write.merge import LiveDocuments
from colmodern.ragged.arrays import write_array


def write_fields(folder: Path, table: FieldTable) -> None:
    """Write the file of a segment's fields, where there are any, in place of an older one.

    Raises:
        StorageError: The disk is full.
    """
    path = folder / FIELDS
    with naming_write_errors(path):
        remove(path)  # an interrupted build may have left it
        if table.columns:
            write_array(path, to_bytes(table))


def fields_of_live(
    folder: Path, live: Sequence[LiveDocuments], new_documents: FieldTable | None
) -> FieldTable:
    """The fields of documents that are copied, then those of new ones."""
    tables = [verified_fields(folder, segment).select(docs) for segment, docs in live]
    return joined(tables if new_documents is None else [*tables, new_documents])


def with_fields(
    schema: dict[str, tuple[Kind, ...]], table: FieldTable
) -> dict[str, tuple[Kind, ...]]:
    """The fields that an index has with more documents."""
    more = table.schema
    return {
        name: tuple(sorted({*schema.get(name, ()), *more.get(name, ())}))
        for name in sorted(schema.keys() | more.keys())
    }
