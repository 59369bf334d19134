"""Columns of the fields of documents, in memory or mapped from a segment."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.index.fields.values import (
    MOST_CHARACTERS,
    Kind,
    as_float,
    leaves,
    microseconds,
    number_kind,
)
from colmodern.ragged.offsets import offsets_of
from colmodern.types import Scalar

MOST_FIELDS = 10_000
Docs = npt.NDArray[np.int32]
DTYPES: Mapping[Kind, npt.DTypeLike] = {
    Kind.INTEGER: np.int64,
    Kind.FLOAT: np.float64,
    Kind.BOOLEAN: np.uint8,
    Kind.DATE: np.int64,
    Kind.TEXT: np.int32,  # numbers of texts
}
_CODES: Mapping[Kind, str] = {
    Kind.INTEGER: "q",
    Kind.FLOAT: "d",
    Kind.BOOLEAN: "B",
    Kind.DATE: "q",
    Kind.TEXT: "i",
}


@dataclass(frozen=True, eq=False)
class Texts:
    """Different texts in the order of their code points.

    utf8: (n_bytes,) uint8, all texts behind each other
    offsets: (n_texts + 1,) int64
    """

    utf8: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.utf8[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def range_of(self, text: str) -> tuple[int, int]:
        """The numbers from the first text that is not smaller to the first that is larger."""
        numbers, wanted = range(len(self)), text.encode()
        start = bisect_left(numbers, wanted, key=self.__getitem__)
        is_there = start < len(self) and self[start] == wanted
        return start, start + is_there

    def range_of_prefix(self, prefix: str) -> tuple[int, int]:
        """The numbers of the texts that begin so."""
        wanted = prefix.encode()

        def beginning(number: int) -> bytes:
            return self[number][: len(wanted)]

        numbers = range(len(self))
        start = bisect_left(numbers, wanted, key=beginning)
        return start, bisect_right(numbers, wanted, lo=start, key=beginning)


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one kind that documents have in one field.

    docs: (n_values,) int32 ascending, the document of each value; a document may have several
    values: (n_values,) of the kind's dtype
    texts: what the values of a column of texts are numbers of
    """

    docs: Docs
    values: npt.NDArray[Any]
    texts: Texts | None = None

    def of(self, doc: int) -> list[Any]:
        """The values of one document, texts as str."""
        start, stop = np.searchsorted(self.docs, [doc, doc + 1]).tolist()
        values = self.values[start:stop].tolist()
        texts = self.texts
        return (
            values
            if texts is None
            else [texts[number].decode(errors="replace") for number in values]
        )


@dataclass(frozen=True, eq=False)
class FieldTable:
    """The fields of ``n_docs`` documents: a column for each field and kind of value."""

    n_docs: int
    columns: Mapping[tuple[str, Kind], Column]

    @classmethod
    def empty(cls, n_docs: int) -> FieldTable:
        """Documents without fields."""
        return cls(n_docs, {})

    @classmethod
    def from_records(cls, records: Iterable[object], name: str = "fields") -> FieldTable:
        """The fields of documents, from one mapping for each.

        Args:
            records: Mappings from names of fields to values, in the order of the documents.
            name: Their name in messages.

        Raises:
            InputError: One of them is no mapping, or has a value that cannot be a field's.
        """
        writer = FieldWriter(name)
        for record in records:
            writer.add(record)
        return writer.finish()

    @property
    def schema(self) -> dict[str, tuple[Kind, ...]]:
        """The fields and their kinds."""
        schema: dict[str, tuple[Kind, ...]] = {}
        for field, kind in sorted(self.columns):
            schema[field] = (*schema.get(field, ()), kind)
        return schema

    def values_of(self, field: str, doc: int) -> list[Scalar]:
        """The values that a document has in a field, dates as their texts."""
        values: list[Scalar] = []
        for kind in (Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN, Kind.TEXT):
            if (column := self.columns.get((field, kind))) is not None:
                own = column.of(doc)
                values += map(bool, own) if kind is Kind.BOOLEAN else own
        return values

    def select(self, docs: npt.NDArray[np.integer]) -> FieldTable:
        """The fields of the documents with these numbers, in their order."""
        order = np.argsort(docs, kind="stable")
        ascending = np.asarray(docs, np.int64)[order]
        columns = {}
        for key, column in self.columns.items():
            starts = np.searchsorted(column.docs, ascending)
            lengths = np.searchsorted(column.docs, ascending, side="right") - starts
            owners = np.repeat(order, lengths)  # their new numbers
            ends = np.cumsum(lengths)
            rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
                starts - (ends - lengths), lengths
            )
            by_doc = np.argsort(owners, kind="stable")
            selected = Column(
                owners[by_doc].astype(np.int32), column.values[rows[by_doc]], column.texts
            )
            if len(selected.docs):
                columns[key] = _compacted(selected)
        return FieldTable(len(docs), columns)


class FieldWriter:
    """Collects the fields of documents, one after another.

    Args:
        name: What the documents are called in messages.
        wanted: The fields to keep, with all that is nested in them; None for all.

    Attributes:
        n_docs: Documents so far.
    """

    def __init__(self, name: str = "fields", wanted: Iterable[str] | None = None) -> None:
        self.n_docs = 0
        self._name = name
        self._wanted = None if wanted is None else frozenset(wanted)
        self._docs: dict[tuple[str, Kind], array[int]] = {}
        self._values: dict[tuple[str, Kind], array[Any]] = {}
        self._texts: dict[str, dict[str, int]] = {}  # field -> text -> number, by first occurrence

    def add(self, record: object) -> None:
        """Add the fields of the next document.

        Raises:
            InputError: It is no mapping, or has a value that cannot be a field's.
        """
        for field, value in leaves(record, lambda: f"{self._name}[{self.n_docs}]"):
            if self._wanted is None or self._is_wanted(field):
                self._add_value(field, value)
        self.n_docs += 1

    def _is_wanted(self, field: str) -> bool:
        assert self._wanted is not None
        levels = field.split(".")
        return any(".".join(levels[:n]) in self._wanted for n in range(1, len(levels) + 1))

    def _add_value(self, field: str, value: Scalar) -> None:
        if isinstance(value, str):
            if (moment := microseconds(value)) is not None:
                self._append(field, Kind.DATE, moment)
            numbers = self._texts.setdefault(field, {})
            text = value[: MOST_CHARACTERS + 1]
            self._append(field, Kind.TEXT, numbers.setdefault(text, len(numbers)))
        elif isinstance(value, bool):
            self._append(field, Kind.BOOLEAN, value)
        else:
            kind = number_kind(value)
            self._append(field, kind, value if kind is Kind.INTEGER else as_float(value))

    def _append(self, field: str, kind: Kind, value: int | float) -> None:
        key = (field, kind)
        if key not in self._docs:
            if len(self._docs) == MOST_FIELDS:
                raise InputError(
                    f"{self._name} has more than {MOST_FIELDS:,} fields, the last one {field!r}; "
                    "keep those that searches filter by, as Collection.create(fields=[...])"
                )
            self._docs[key], self._values[key] = array("i"), array(_CODES[kind])
        self._docs[key].append(self.n_docs)
        self._values[key].append(value)

    def finish(self) -> FieldTable:
        """The table of all documents."""
        columns = {}
        for key, docs in self._docs.items():
            field, kind = key
            values = np.array(self._values[key], DTYPES[kind])
            texts = None
            if kind is Kind.TEXT:
                texts, ranks = _sorted_texts([text.encode() for text in self._texts[field]])
                values = ranks[values]
            columns[key] = Column(np.array(docs, np.int32), values, texts)
        return FieldTable(self.n_docs, columns)


def joined(tables: Sequence[FieldTable]) -> FieldTable:
    """The fields of documents behind each other."""
    bases = offsets_of([table.n_docs for table in tables])
    columns = {}
    for key in sorted({key for table in tables for key in table.columns}):
        pairs = [
            (base, table.columns[key])
            for base, table in zip(bases.tolist(), tables, strict=False)
            if key in table.columns
        ]
        docs = np.concatenate([column.docs + np.int32(base) for base, column in pairs])
        values, texts = [column.values for _, column in pairs], None
        if key[1] is Kind.TEXT:
            texts, values = _joined_texts([column for _, column in pairs])
        columns[key] = Column(docs, np.concatenate(values), texts)
    return FieldTable(int(bases[-1]), columns)


def _joined_texts(columns: Sequence[Column]) -> tuple[Texts, list[npt.NDArray[Any]]]:
    """Texts of several columns together, and the values of each as their numbers."""
    numbers: dict[bytes, int] = {}
    values = []
    for column in columns:
        assert column.texts is not None  # a column of texts
        texts = column.texts
        own = [numbers.setdefault(texts[i], len(numbers)) for i in range(len(texts))]
        values.append(np.array(own, np.int32)[column.values])
    everything, ranks = _sorted_texts(list(numbers))
    return everything, [ranks[numbers] for numbers in values]


def _sorted_texts(texts: list[bytes]) -> tuple[Texts, npt.NDArray[np.int32]]:
    """The texts in order, and the rank of each."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ranks = np.empty(len(texts), np.int32)
    ranks[order] = np.arange(len(texts))
    utf8 = np.frombuffer(b"".join(texts[i] for i in order), np.uint8)
    return Texts(utf8, offsets_of([len(texts[i]) for i in order])), ranks


def _compacted(column: Column) -> Column:
    """The same column without texts that no document has."""
    if column.texts is None:
        return column
    used = np.unique(column.values)
    if len(used) == len(column.texts):
        return column
    texts = column.texts
    kept, _ = _sorted_texts([texts[number] for number in used.tolist()])
    return Column(column.docs, np.searchsorted(used, column.values).astype(np.int32), kept)
