"""A run of documents that never changes: their codes, inverted lists and ids, mapped from disk.

What kernels use as an address or a count, and the ids, is compared with its checksums when a segment
is opened (ADDRESSES); tokens and lists (VALUES) are left to verify.py, before they are used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import code_dtype
from colmodern.errors import StorageError
from colmodern.files import read_error, sha256_of_file
from colmodern.index.fields.files import FIELDS
from colmodern.index.fields.table import FieldTable
from colmodern.index.plaid.disk.doc_ids import ID_FILES, DocIds
from colmodern.index.plaid.disk.manifest import CURE, SegmentRecord
from colmodern.index.plaid.disk.structure import expect_ids, expect_offsets
from colmodern.kernels.types import SampledDocs, SegmentArrays
from colmodern.ragged.mapped import Map, expect_checksum, fast_checksum, map_file
from colmodern.ragged.offsets import offsets_of, rows_of_texts
from colmodern.ragged.spans import WIDTHS, TokenSpans

# documents whose tokens stand for those of all, and their tokens: a search scores them all
_FEWEST_SAMPLED, _MOST_SAMPLED, _SAMPLED_TOKENS = 4, 32, 4096
_MOST_OF_A_DOC = _SAMPLED_TOKENS // _FEWEST_SAMPLED


@dataclass(frozen=True, eq=False)
class Segment:
    """``n_docs`` documents with ``n_tokens`` tokens, and their ids.

    record: what the manifest says of it
    verified: what verify.py found right of the arrays in this process; it is not looked at again
    spans: the characters of each token, None where the index does not keep them
    fields: bytes of the documents' fields, None where they have none
    tables: what verify.verified_fields made of them, by the name of the file
    """

    name: str
    n_docs: int
    n_tokens: int
    arrays: SegmentArrays
    ids: DocIds
    record: SegmentRecord
    verified: set[str] = field(default_factory=set)
    spans: TokenSpans | None = None
    fields: npt.NDArray[Any] | None = None
    tables: dict[str, FieldTable] = field(default_factory=dict)

    @cached_property
    def files(self) -> dict[str, npt.NDArray[Any]]:
        """The mapped array of each file."""
        arrays = {f"{name}.npy": array for name, array in self.arrays._asdict().items()}
        arrays |= self.ids.arrays
        if self.spans is not None:
            arrays["spans.npy"] = self.spans.steps
            if self.spans.row_of_token is not None:
                arrays |= {
                    "span_offsets.npy": self.spans.offsets,
                    "span_rows.npy": self.spans.row_of_token,
                }
        if self.fields is not None:
            arrays[FIELDS] = self.fields
        return arrays

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) tokens of each document."""
        return np.diff(self.arrays.doc_offsets)

    @cached_property
    def list_sizes(self) -> npt.NDArray[np.int64]:
        """(n_centroids,) postings of each centroid's lists."""
        offsets = self.arrays.list_offsets
        sizes = np.zeros(offsets.shape[1] - 1, np.int64)
        for of_block in offsets:
            sizes += np.diff(of_block)
        return sizes

    @cached_property
    def sample(self) -> SampledDocs:
        """Documents spread evenly over the segment, fewer where they are long.

        A document of more than 1,024 tokens gives as many, spread evenly over it.
        """
        offsets = self.arrays.doc_offsets
        n = max(_FEWEST_SAMPLED, _SAMPLED_TOKENS * self.n_docs // max(1, self.n_tokens))
        n = min(n, _MOST_SAMPLED, self.n_docs)
        docs = (np.arange(n) * 2 + 1) * self.n_docs // max(1, 2 * n)
        lengths = offsets[docs + 1] - offsets[docs]
        sampled = np.minimum(lengths, _MOST_OF_A_DOC)
        steps = 2 * rows_of_texts(np.zeros_like(sampled), sampled) + 1
        rows = steps * np.repeat(lengths, sampled) // np.repeat(2 * sampled, sampled)
        codes = self.arrays.codes[np.repeat(offsets[docs], sampled) + rows]
        return SampledDocs(codes.astype(np.uint32), offsets_of(sampled))

    @cached_property
    def doc_columns(self) -> npt.NDArray[np.uint8]:
        """(n_doc_bytes, n_docs) bytes of document vectors, a copy in memory, made once."""
        return np.ascontiguousarray(self.arrays.doc_vectors.T)

    @property
    def n_blocks(self) -> int:
        """How many blocks of inverted lists."""
        return len(self.arrays.list_offsets)


VALUES = ("codes", "gains", "residuals", "doc_gains", "doc_vectors", "list_docs")
SEGMENT_FILES = (*(f"{name}.npy" for name in SegmentArrays._fields), *ID_FILES)
SPAN_FILES = ("spans.npy", "span_offsets.npy", "span_rows.npy")
_OPTIONAL_FILES = (*SPAN_FILES, FIELDS)
ADDRESSES = tuple(file for file in SEGMENT_FILES if file.removesuffix(".npy") not in VALUES)


def segment_name(number: int) -> str:
    """The folder of a segment."""
    return f"segment-{number:05d}"


def record_segment(folder: Path, name: str, *, n_docs: int, n_tokens: int) -> SegmentRecord:
    """The manifest's record of the finished files in ``folder``, which may still have another name.

    Reads them all, for their checksums.
    """
    names = (*SEGMENT_FILES, *(file for file in _OPTIONAL_FILES if (folder / file).exists()))
    files = {file: sha256_of_file(folder / file) for file in names}
    return SegmentRecord(
        name=name,
        n_docs=n_docs,
        n_tokens=n_tokens,
        files=files,
        fast=fast_checksums(folder, names),
    )


def fast_checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The ``fast_checksum`` of each of the finished files of a folder."""
    return {name: fast_checksum(map_file(folder / name)) for name in names}


def expect_file(folder: Path, segment: Segment, name: str, map_chunks: Map = map) -> None:
    """Compare one file of a segment, as it is mapped, with the manifest; raises StorageError.

    Args:
        folder: Folder of the index.
        segment: one of it.
        name: one of SEGMENT_FILES.
        map_chunks: as the built-in ``map``, or that of several threads.
    """
    expect_checksum(
        folder / segment.name / name,
        segment.files[name],
        sha256=segment.record.files[name],
        fast=segment.record.fast.get(name),
        cure=CURE,
        map_chunks=map_chunks,
    )


def open_segment(folder: Path, record: SegmentRecord, *, n_centroids: int) -> Segment:
    """Map a segment of an index folder and read what leads into its arrays, and its ids.

    Raises StorageError when a file is missing, is none or has another size, shape or dtype than it
    should, when offsets or ids differ from their checksums, or when they lead out of an array.
    """
    path = folder / record.name
    if lacking := set(SEGMENT_FILES) - record.files.keys():
        raise StorageError(f"the manifest names no {', '.join(sorted(lacking))} of {path}; {CURE}")
    arrays = {}
    for name in SegmentArrays._fields:
        arrays[name] = _mapped(path / f"{name}.npy")
    try:
        ids = DocIds(path)
    except ValueError as error:
        raise StorageError(f"{path / str(error)}; {CURE}") from error  # begins with the file's name
    except (OSError, MemoryError) as error:
        named = Path(str(getattr(error, "filename", None) or ID_FILES[0])).name
        raise read_error(path / named, error, cure=CURE) from error
    segment = Segment(
        record.name,
        record.n_docs,
        record.n_tokens,
        SegmentArrays(**arrays),
        ids,
        record,
        spans=_open_spans(path, record, arrays["doc_offsets"]),
        fields=_mapped(path / FIELDS) if FIELDS in record.files else None,
    )
    _expect_shapes(path, segment, n_centroids)
    _expect_ends(path, segment)
    for name in ADDRESSES + ("span_offsets.npy",) * ("span_offsets.npy" in record.files):
        expect_file(folder, segment, name)
    expect_offsets(path, segment.arrays)
    expect_ids(path, ids)
    return segment


def _mapped(path: Path) -> npt.NDArray[Any]:
    """A mapped file; raises StorageError where it cannot be."""
    try:
        return map_file(path)
    except (OSError, ValueError, MemoryError) as error:
        raise read_error(path, error, cure=CURE) from error


def _open_spans(
    path: Path, record: SegmentRecord, doc_offsets: npt.NDArray[np.int64]
) -> TokenSpans | None:
    """The spans of a segment, mapped; raises StorageError for other shapes than they should have."""
    if "spans.npy" not in record.files:
        return None
    arrays = {name: _mapped(path / name) for name in SPAN_FILES if name in record.files}
    offsets, row_of_token = arrays.get("span_offsets.npy", doc_offsets), arrays.get("span_rows.npy")
    steps = arrays["spans.npy"]
    has_offsets = offsets.dtype == np.int64 and offsets.shape == (record.n_docs + 1,)
    n_spans = int(offsets[-1]) if has_offsets else -1
    rows_fit = row_of_token is None or (
        row_of_token.dtype in WIDTHS and row_of_token.shape == (n_spans,)
    )
    if not (has_offsets and rows_fit and steps.dtype in WIDTHS and steps.shape == (n_spans, 2)):
        raise StorageError(f"{path / 'spans.npy'} has other counts than the segment; {CURE}")
    return TokenSpans(steps, offsets, row_of_token)


def _expect_shapes(path: Path, segment: Segment, n_centroids: int) -> None:
    n_docs, n_tokens = segment.n_docs, segment.n_tokens
    n_blocks = segment.arrays.block_docs.size - 1
    n_bytes, n_doc_bytes = (
        array.shape[1] if array.ndim == 2 else 0
        for array in (segment.arrays.residuals, segment.arrays.doc_vectors)
    )
    expected: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
        "codes": (code_dtype(n_centroids), (n_tokens,)),
        "gains": (np.uint8, (n_tokens,)),
        "residuals": (np.uint8, (n_tokens, n_bytes)),
        "doc_gains": (np.uint8, (n_docs,)),
        "doc_vectors": (np.uint8, (n_docs, n_doc_bytes)),
        "doc_offsets": (np.int64, (n_docs + 1,)),
        "block_docs": (np.int64, (n_blocks + 1,)),
        "list_offsets": (np.uint32, (n_blocks, n_centroids + 1)),
        "block_starts": (np.int64, (n_blocks + 1,)),
        "list_docs": (np.uint16, (segment.arrays.list_docs.size,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(segment.arrays, name)
        if array.dtype != dtype or array.shape != shape:
            raise StorageError(
                f"{path / name}.npy has shape {array.shape} and dtype {array.dtype}, not {shape} "
                f"and {np.dtype(dtype)}; {CURE}"
            )
    if len(segment.ids) != n_docs:
        raise StorageError(
            f"{path / ID_FILES[-1]} has {len(segment.ids)} ids for {n_docs} documents; {CURE}"
        )


def _expect_ends(path: Path, segment: Segment) -> None:
    """Compare the last entry of each array of offsets with what it points to the end of."""
    ends = {
        "doc_offsets": segment.n_tokens,
        "block_docs": segment.n_docs,
        "block_starts": len(segment.arrays.list_docs),
    }
    for name, end in ends.items():
        array = getattr(segment.arrays, name)
        if len(array) == 0 or array[-1] != end:
            raise StorageError(f"{path / name}.npy does not end at {end}; {CURE}")
