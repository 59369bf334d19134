"""An index as a search sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.index.plaid.query_tables import SearchCodec
from colmodern.index.plaid.segment import Segment

Rows = npt.NDArray[np.int64]  # doc_index values, ascending


@dataclass(frozen=True, eq=False)
class View:
    """Segments as a search sees them, with the documents that it may return.

    bases: (n_segments + 1,) int64, where each segment's doc_index values begin
    blocked: for each segment, None or (n_docs,) bool of deleted or filtered documents
    n_open: documents that are not blocked
    """

    codec: SearchCodec
    segments: Sequence[Segment]
    bases: Rows
    blocked: Sequence[npt.NDArray[np.bool_] | None]
    n_open: int

    def by_segment(self, rows: Rows) -> list[tuple[Segment, slice, Rows]]:
        """Ascending doc_index values as (segment, their places, rows inside the segment)."""
        if len(self.segments) == 1:
            return [(self.segments[0], slice(0, len(rows)), rows)] if len(rows) else []
        edges = np.searchsorted(rows, self.bases)
        return [
            (segment, slice(start, stop), rows[start:stop] - base)
            for segment, base, start, stop in zip(
                self.segments, self.bases, edges, edges[1:], strict=False
            )
            if stop > start
        ]

    def open_rows(self) -> Rows:
        """Every document that may be returned."""
        parts = [
            base + (np.arange(segment.n_docs) if blocked is None else np.flatnonzero(~blocked))
            for segment, base, blocked in zip(self.segments, self.bases, self.blocked, strict=False)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def doc_ids(self, rows: Rows) -> list[str]:
        """The ids behind doc_index values, in any order."""
        if len(self.segments) == 1:
            return self.segments[0].ids.get(rows)
        order = np.argsort(rows)
        sorted_ids: list[str] = []
        for segment, _, inside in self.by_segment(rows[order]):
            sorted_ids += segment.ids.get(inside)
        ids = np.empty(len(rows), object)
        ids[order] = sorted_ids
        found: list[str] = ids.tolist()
        return found

    def lengths(self, rows: Rows) -> Rows:
        """Tokens of documents; rows ascending."""
        out = np.empty(len(rows), np.int64)
        for segment, places, inside in self.by_segment(rows):
            out[places] = (
                segment.arrays.doc_offsets[inside + 1] - segment.arrays.doc_offsets[inside]
            )
        return out
