"""The documents of an index that a search may return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.search.query_tables import SearchCodec
from colmodern.kernels.types import SampledDocs

DocIndex = npt.NDArray[np.int64]  # doc_index values, ascending


@dataclass(frozen=True, eq=False)
class View:
    """Segments, and the documents of them that a search may return.

    bases: (n_segments + 1,) int64, where each segment's doc_index values begin
    blocked: for each segment, None or (n_docs,) bool of deleted or filtered documents
    n_open: documents that are not blocked
    """

    codec: SearchCodec
    segments: Sequence[Segment]
    bases: DocIndex
    blocked: Sequence[npt.NDArray[np.bool_] | None]
    n_open: int

    @cached_property
    def list_sizes(self) -> npt.NDArray[np.int64]:
        """(n_centroids,) postings of each centroid's lists, those of blocked documents too."""
        sizes = [segment.list_sizes for segment in self.segments]
        return sizes[0] if len(sizes) == 1 else np.sum(sizes, axis=0, dtype=np.int64)

    @cached_property
    def sample(self) -> SampledDocs:
        """Documents that stand for all, those of blocked documents too: some of the largest segment."""
        return max(self.segments, key=lambda segment: segment.n_docs).sample

    def by_segment(self, doc_index: DocIndex) -> list[tuple[Segment, slice, DocIndex]]:
        """Ascending doc_index values as (segment, their positions, documents of the segment)."""
        if len(self.segments) == 1:
            everything = (self.segments[0], slice(0, len(doc_index)), doc_index)
            return [everything] if len(doc_index) else []
        edges = np.searchsorted(doc_index, self.bases)
        return [
            (segment, slice(start, stop), doc_index[start:stop] - base)
            for segment, base, start, stop in zip(
                self.segments, self.bases, edges, edges[1:], strict=False
            )
            if stop > start
        ]

    def open_docs(self) -> DocIndex:
        """Every document that may be returned."""
        by_segment = [
            base + (np.arange(segment.n_docs) if blocked is None else np.flatnonzero(~blocked))
            for segment, base, blocked in zip(self.segments, self.bases, self.blocked, strict=False)
        ]
        return np.concatenate(by_segment) if by_segment else np.empty(0, np.int64)

    def doc_ids(self, doc_index: DocIndex) -> list[str]:
        """The ids behind doc_index values, in any order."""
        if len(self.segments) == 1:
            return self.segments[0].ids.get(doc_index)
        order = np.argsort(doc_index)
        sorted_ids: list[str] = []
        for segment, _, docs in self.by_segment(doc_index[order]):
            sorted_ids += segment.ids.get(docs)
        ids = np.empty(len(doc_index), object)
        ids[order] = sorted_ids
        doc_ids: list[str] = ids.tolist()
        return doc_ids

    def lengths(self, doc_index: DocIndex) -> DocIndex:
        """(n,) numbers of tokens of documents; doc_index: ascending."""
        out = np.empty(len(doc_index), np.int64)
        for segment, positions, docs in self.by_segment(doc_index):
            out[positions] = segment.arrays.doc_offsets[docs + 1] - segment.arrays.doc_offsets[docs]
        return out
