"""Comparison of tokens and lists with their checksums before they are used, once in a process.

"lazy"        before the first search; reads the whole index once, a few GB a second from memory
"full"        the same when the index is loaded
"addresses"   never; only the ranges of codes and lists are checked, a twentieth of the index,
              before the first search; a damaged residual then changes scores unnoticed
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args

from colmodern.arguments import expect_choice
from colmodern.errors import StorageError
from colmodern.index.fields.files import FIELDS, from_bytes
from colmodern.index.fields.table import FieldTable
from colmodern.index.plaid.disk.manifest import CURE
from colmodern.index.plaid.disk.segment import SPAN_FILES, VALUES, Segment, expect_file
from colmodern.index.plaid.disk.structure import expect, expect_codes, expect_list_docs
from colmodern.ragged.mapped import Map, sha256_of_mapped
from colmodern.ragged.spans import TokenSpans, fault_of_spans
from colmodern.threads import ForkSafeLock, cpu_count

Verify = Literal["lazy", "full", "addresses"]

_ALONE_BYTES = 32 << 20  # bytes of tokens and lists that one thread reads in two milliseconds
# entries of Segment.verified
_VALUES, _RANGES, _SPANS = "values", "ranges", "spans"


class Verification:
    """The checks that segments must pass before they are searched, each made once.

    An open index has one; any number of threads may call it at once, and one of them reads.
    """

    def __init__(
        self, folder: Path, segments: Sequence[Segment], n_centroids: int, verify: Verify
    ) -> None:
        expect_choice("verify", verify, get_args(Verify))
        self.verify = verify
        self._folder, self._segments, self._n_centroids = folder, segments, n_centroids
        self._is_done = False
        self._lock = ForkSafeLock()

    def __call__(self) -> None:
        """Make the checks that have not been made yet.

        Raises StorageError that names the first file that is not right, at every call.
        """
        if self._is_done:
            return
        with self._lock.held():
            for segment in self._segments:
                if self.verify != "addresses" and _VALUES not in segment.verified:
                    _expect_values_by_threads(self._folder, segment)
                    segment.verified.add(_VALUES)
                if _RANGES not in segment.verified:
                    path = self._folder / segment.name
                    expect_codes(path, segment.arrays.codes, self._n_centroids)
                    expect_list_docs(path, segment)
                    segment.verified.add(_RANGES)
            self._is_done = True


def expect_values(folder: Path, segment: Segment, map_chunks: Map = map) -> None:
    """Compare the tokens and lists of a segment with their checksums; raises StorageError.

    Args:
        folder: The index folder.
        segment: One of its segments.
        map_chunks: The built-in ``map``, or that of several threads.
    """
    for name in VALUES:
        expect_file(folder, segment, f"{name}.npy", map_chunks)


def verified_spans(folder: Path, segment: Segment) -> TokenSpans:
    """The spans of a segment that has some, compared with their checksums once in a process.

    Args:
        folder: The index folder.
        segment: One of its segments.

    Raises:
        StorageError: They are not what was written.
    """
    spans = segment.spans
    assert spans is not None  # callers look at the index's settings first
    if _SPANS not in segment.verified:
        for name in SPAN_FILES:
            if name in segment.files:
                expect_file(folder, segment, name)
        fault = fault_of_spans(spans, segment.lengths)
        expect(fault is None, folder / segment.name / "spans.npy", f"has spans that {fault}")
        segment.verified.add(_SPANS)
    return spans


def verified_fields(folder: Path, segment: Segment) -> FieldTable:
    """The fields of a segment's documents, compared with their checksum once in a process.

    Args:
        folder: The index folder.
        segment: One of its segments.

    Raises:
        StorageError: They are not what was written.
    """
    if segment.fields is None:
        return FieldTable.empty(segment.n_docs)
    if (table := segment.tables.get(FIELDS)) is None:
        expect_file(folder, segment, FIELDS)
        path = folder / segment.name / FIELDS
        try:
            table = from_bytes(segment.fields)
        except ValueError as error:
            raise StorageError(f"{path} is damaged: {error}; {CURE}") from error
        expect(table.n_docs == segment.n_docs, path, "has another number of documents")
        segment.tables[FIELDS] = table
    return table


def _expect_values_by_threads(folder: Path, segment: Segment) -> None:
    """The same with all CPU cores, where it is worth starting threads."""
    if sum(segment.files[f"{name}.npy"].nbytes for name in VALUES) < _ALONE_BYTES:
        expect_values(folder, segment)
        return
    # threads of its own: those that searches share may all be waiting for this
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="colmodern-verify") as pool:
        expect_values(folder, segment, pool.map)


def verify_segments(folder: Path, segments: Iterable[Segment]) -> None:
    """Compare every byte of segments with its SHA-256, before it is copied to another file.

    Without this a damaged byte would get a new checksum, and could never be detected again.

    Args:
        folder: The index folder.
        segments: The segments to read.

    Raises:
        StorageError: A file is not what was written; names the first one.
    """
    for segment in segments:
        for name in (name for name in segment.record.files if name in segment.files):
            path, expected = folder / segment.name / name, segment.record.files[name]
            is_same = sha256_of_mapped(path, segment.files[name]) == expected
            expect(is_same, path, "differs from its checksum and was not copied")
