"""Records of kernels that hold nothing, to be filled in with what a test is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from colmodern.kernels.types import (
    CentroidRows,
    CodecArrays,
    EntryForm,
    QueryTables,
    SegmentArrays,
    StoredDocs,
    TableQuery,
)

_FLOATS, _CODEBOOK = np.zeros(0, np.float32), np.zeros((0, 256, 1), np.float32)

EMPTY_SEGMENT = SegmentArrays(
    codes=np.zeros(0, np.uint16),
    gains=np.zeros(0, np.uint8),
    residuals=np.zeros((0, 0), np.uint8),
    doc_gains=np.zeros(0, np.uint8),
    doc_vectors=np.zeros((0, 0), np.uint8),
    doc_offsets=np.zeros(1, np.int64),
    block_docs=np.zeros(1, np.int64),
    list_offsets=np.zeros((0, 0), np.uint32),
    block_starts=np.zeros(1, np.int64),
    list_docs=np.zeros(0, np.uint16),
)
EMPTY_CODEC = CodecArrays(
    mean=_FLOATS,
    centroids=np.zeros((0, 0), np.int8),
    centroid_scales=_FLOATS,
    centroid_sums=np.zeros(0, np.int32),
    longest=0.0,
    codebook=_CODEBOOK,
    gain_step=0.0,
    form=EntryForm(0, 0),
    doc_codebook=_CODEBOOK,
    doc_gain_step=0.0,
    error=0.0,
    reach=0.0,
    numbers=np.zeros(0, np.int32),
    clusters=None,
)
EMPTY_QUERY = QueryTables(
    n_tokens=0,
    unit=0.0,
    constant=0.0,
    empty=0,
    padded=np.zeros((0, 32), np.float32),
    query_bytes=np.zeros((0, 0, 16, 4), np.uint8),
    lane_scales=np.zeros((0, 16), np.float32),
    probed=np.zeros(0, np.int32),
    known=None,
    floors=np.zeros((0, 16), np.int16),
    centroid_scores=np.zeros((0, 0, 16), np.int16),
    maxima=np.zeros((0, 0, 16), np.int16),
    lanes=np.zeros(0, np.uint16),
    doc_products=np.zeros((0, 256), np.float32),
    doc_table=np.zeros((0, 256), np.int16),
    doc_factors=_FLOATS,
    doc_parts=np.zeros(0, np.int64),
    residual_query=TableQuery(
        np.zeros((0, 0, 256, 16), np.int8), np.zeros(256, np.int16), np.int16(0)
    ),
    refine_slack=np.zeros(256, np.int16),
    score_slack=np.zeros(256, np.int16),
    rounding=0,
    loss=0,
)
_RECORDS: dict[str, Any] = {
    "segment": EMPTY_SEGMENT,
    "codec": EMPTY_CODEC,
    "query": EMPTY_QUERY,
    "stored": StoredDocs(np.zeros(0, np.uint64), 0, False),
    "centroids": CentroidRows(np.zeros((0, 0), np.int8), _FLOATS, np.zeros(0, np.int32)),
}
# searches map these records' arrays from disk; numba compiles for read-only arrays anew
_MAPPED = ("segment", "codec")


def argument(name: str, inputs: Mapping[str, Any]) -> Any:
    """An input by its name, or the record of this name made of inputs by the names of its fields."""
    if name in inputs or name not in _RECORDS:
        return inputs[name]
    empty = _RECORDS[name]
    record = empty._replace(**{field: inputs[field] for field in empty._fields if field in inputs})
    if name in _MAPPED:
        for value in record:
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
    return record


def copied(value: Any) -> Any:
    """A deep copy of an array, a number or a record."""
    if isinstance(value, tuple):
        return type(value)(*map(copied, value))
    return value.copy() if isinstance(value, np.ndarray) else value
