"""The one file of a segment's fields.

    fields.npy   uint8: int64 length of a header, the header in JSON, then the arrays of all columns

An array begins at a multiple of 8 bytes. The header names for each column its field, its kind, and
where its arrays begin and how many entries they have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from colmodern.index.fields.table import DTYPES, Column, FieldTable, Texts
from colmodern.index.fields.values import Kind

FIELDS = "fields.npy"
_ALIGNED = 8  # bytes

Bytes = npt.NDArray[np.uint8]
_Extent = tuple[int, int]  # first byte behind the header, and number of entries


class _ColumnRecord(BaseModel):
    """A column in the header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    kind: Kind
    docs: _Extent
    values: _Extent
    utf8: _Extent | None = None
    offsets: _Extent | None = None


class _Header(BaseModel):
    """The header of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_docs: int
    columns: tuple[_ColumnRecord, ...]


def to_bytes(table: FieldTable) -> Bytes:
    """The contents of fields.npy; the same for equal tables."""
    arrays: list[Bytes] = []
    end = 0

    def placed(array: npt.NDArray[Any]) -> _Extent:
        nonlocal end
        begin = end
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        arrays.append(np.pad(data, (0, -len(data) % _ALIGNED)))
        end += len(arrays[-1])
        return begin, len(array)

    records = []
    for (field, kind), column in sorted(table.columns.items(), key=lambda item: item[0]):
        extents: dict[str, _Extent] = {
            "docs": placed(column.docs), "values": placed(column.values)
        }  # fmt: skip
        if column.texts is not None:
            extents["utf8"] = placed(column.texts.utf8)
            extents["offsets"] = placed(column.texts.offsets)
        records.append({"field": field, "kind": kind.value, **extents})
    text = json.dumps({"n_docs": table.n_docs, "columns": records}, ensure_ascii=False)
    header = np.frombuffer(text.encode(), np.uint8)
    length = np.array([len(header)], np.int64).view(np.uint8)
    return np.concatenate([length, np.pad(header, (0, -len(header) % _ALIGNED)), *arrays])


def from_bytes(stored: Bytes) -> FieldTable:
    """The table in the contents of fields.npy, whose columns are views of them.

    Raises:
        ValueError: They are not what ``to_bytes`` makes; says what is wrong.
    """
    if stored.dtype != np.uint8 or stored.ndim != 1 or len(stored) < _ALIGNED:
        raise ValueError("it is not an array of bytes with a header")
    length = int(stored[:_ALIGNED].view(np.int64)[0])
    if not 0 <= length <= len(stored) - _ALIGNED:
        raise ValueError("its header is longer than the file")
    try:
        header = _Header.model_validate_json(stored[_ALIGNED : _ALIGNED + length].tobytes())
    except ValidationError as error:
        raise ValueError(f"its header is wrong: {error.errors()[0]['msg']}") from error
    arrays = stored[_ALIGNED + length + -length % _ALIGNED :]
    columns: Mapping[tuple[str, Kind], Column] = {
        (record.field, record.kind): _column(record, arrays, header.n_docs)
        for record in header.columns
    }
    return FieldTable(header.n_docs, columns)


def _column(record: _ColumnRecord, arrays: Bytes, n_docs: int) -> Column:
    where = f"the {record.kind.value} column of the field {record.field!r}"
    docs = _array(arrays, record.docs, np.int32, where)
    values = _array(arrays, record.values, DTYPES[record.kind], where)
    if len(docs) != len(values) or np.any(docs[1:] < docs[:-1]):
        raise ValueError(f"{where} has documents out of order")
    if len(docs) and not 0 <= docs[0] <= docs[-1] < n_docs:
        raise ValueError(f"{where} names documents that are not there")
    if record.kind is not Kind.TEXT:
        return Column(docs, values)
    if record.utf8 is None or record.offsets is None:
        raise ValueError(f"{where} has no texts")
    utf8 = _array(arrays, record.utf8, np.uint8, where)
    offsets = _array(arrays, record.offsets, np.int64, where)
    is_rising = len(offsets) > 0 and offsets[0] == 0 and not np.any(offsets[1:] < offsets[:-1])
    if not is_rising or offsets[-1] != len(utf8):
        raise ValueError(f"{where} has offsets that lead out of its texts")
    if len(values) and not 0 <= values.min() <= values.max() < len(offsets) - 1:
        raise ValueError(f"{where} names texts that are not there")
    return Column(docs, values, Texts(utf8, offsets))


def _array(arrays: Bytes, extent: _Extent, dtype: npt.DTypeLike, where: str) -> npt.NDArray[Any]:
    begin, length = extent
    end = begin + length * np.dtype(dtype).itemsize
    if not 0 <= begin <= end <= len(arrays) or begin % _ALIGNED:
        raise ValueError(f"{where} leads out of the file")
    return arrays[begin:end].view(dtype)
