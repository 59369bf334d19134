"""Uploads the segments and the codec of an index to a GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from colmodern.codecs.codec import Codec
from colmodern.errors import ResourceError
from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.search.view import View
from colmodern.kernels.cuda.compressed import Codebook, Tokens
from colmodern.kernels.cuda.memory import budget, on

_log = logging.getLogger(__name__)
_CHUNK_TOKENS = 1 << 22  # tokens that are copied at a time
_CHUNK_DOCS = 1 << 17  # documents whose vectors are decoded at a time
_LEVELS = 128.0  # a power of two: int8 levels over it are exact in float16


@dataclass(frozen=True, eq=False)
class DeviceDocuments:
    """Documents first to first + n_docs of a view.

    tokens: tokens of these documents; residuals may lie in pinned memory of the host
    distinct: each document's codes once, ascending, for scans: the same maxima from fewer of them
    centroids: (n_centroids, dim) int8; scales: (n_centroids,) float32
    longest: largest length of centroids and residuals; near_*: divided by it, to fit float16
    vectors: (n_docs, dim) float32, whose product with a query's sum is added to every score
    """

    device: torch.device
    first: int
    tokens: Tokens
    distinct: Tokens
    centroids: torch.Tensor
    scales: torch.Tensor
    mean: torch.Tensor
    gain_step: torch.Tensor
    codebook: Codebook
    longest: float
    near_scales: torch.Tensor
    near_gain_step: torch.Tensor
    near_codebook: Codebook
    vectors: torch.Tensor

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return len(self.tokens.doc_offsets) - 1

    @property
    def n_bytes(self) -> int:
        """Bytes on the GPU of all that grows with the collection."""
        tensors = (*self.tokens, *self.distinct, self.centroids, self.vectors)
        return sum(one.nbytes for one in tensors if one.device == self.device)


def upload(
    view: View, first: int, last: int, device: torch.device, memory: int | None = None
) -> DeviceDocuments:
    """Copy documents first to last of a view, deleted ones too, and the codec to a GPU.

    memory: bytes that may stay there; residuals that do not fit are read from the host's memory

    Raises ResourceError when not even the codes fit.
    """
    codec = view.codec.codec
    with on(device):
        tokens = _tokens(view, first, last, device, memory)
        return DeviceDocuments(
            device=device,
            first=first,
            tokens=tokens,
            distinct=distinct_codes(tokens, len(codec.centroids.values)),
            vectors=_vectors(view, first, last, device),
            **_codec(codec, device),
        )


def _tokens(view: View, first: int, last: int, device: torch.device, memory: int | None) -> Tokens:
    runs = list(_runs(view, first, last))
    n_tokens = sum(stop - start for _, start, stop, _ in runs)
    codec = view.codec.codec
    n_bytes, code_bytes = len(codec.residuals.codebook), codec.code_dtype.itemsize
    offsets = np.zeros(last - first + 1, np.int64)
    lengths = [np.diff(segment.arrays.doc_offsets[docs]) for segment, _, _, docs in runs]
    if lengths:
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
    room = budget(device, memory)
    per_doc = 2 * 8 + 4 * codec.dim  # offsets and a vector
    needed = (
        n_tokens * (2 * code_bytes + 1) + (last - first) * per_doc + codec.centroids.values.nbytes
    )
    if needed > room:
        raise ResourceError(
            f"the codes of {n_tokens:,} tokens take {needed:,} bytes, but {room:,} may be used on "
            f"{device}; share them out as device=cuda:0,cuda:1, or search with device=cpu"
        )
    is_pinned = needed + n_tokens * n_bytes > room
    if is_pinned:
        _log.warning(
            "%s has no room for residuals of %d bytes: they stay in the host's pinned memory, "
            "and each search reads its candidates' from there",
            device,
            n_tokens * n_bytes,
        )
    code_dtype = torch.int16 if code_bytes == 2 else torch.int32
    codes = torch.empty(n_tokens, dtype=code_dtype, device=device)
    gains = torch.empty(n_tokens, dtype=torch.uint8, device=device)
    residuals = torch.empty(
        (n_tokens, n_bytes),
        dtype=torch.uint8,
        device="cpu" if is_pinned else device,
        pin_memory=is_pinned and device.type == "cuda",
    )
    at = 0
    for segment, start, stop, _ in runs:
        for begin in range(start, stop, _CHUNK_TOKENS):
            end = min(begin + _CHUNK_TOKENS, stop)
            target = slice(at, at + end - begin)
            signed = segment.arrays.codes[begin:end].view(np.int16 if code_bytes == 2 else np.int32)
            codes[target] = _tensor(signed).to(device)
            gains[target] = _tensor(segment.arrays.gains[begin:end]).to(device)
            residuals[target] = _tensor(segment.arrays.residuals[begin:end]).to(residuals.device)
            at = target.stop
    return Tokens(torch.from_numpy(offsets).to(device), codes, gains, residuals)


def distinct_codes(tokens: Tokens, n_centroids: int) -> Tokens:
    """The same documents with each code once, ascending; without gains and residuals."""
    ends = tokens.doc_offsets.cpu()
    device, n_docs = tokens.codes.device, len(ends) - 1
    counts = torch.zeros(n_docs, dtype=torch.int64, device=device)
    chunks = [tokens.codes[:0]]
    first = 0
    while first < n_docs:
        within = int(torch.searchsorted(ends, ends[first] + _CHUNK_TOKENS, right=True)) - 1
        last = min(max(within, first + 1), n_docs)
        codes = tokens.codes[int(ends[first]) : int(ends[last])].long() & tokens.mask
        lengths = torch.diff(tokens.doc_offsets[first : last + 1])
        owners = torch.repeat_interleave(torch.arange(last - first, device=device), lengths)
        pairs = torch.unique(owners * n_centroids + codes)  # ascending
        owners = pairs // n_centroids
        counts[first:last] = torch.bincount(owners, minlength=last - first)
        chunks.append((pairs - owners * n_centroids).to(tokens.codes.dtype))
        first = last
    offsets = torch.zeros(n_docs + 1, dtype=torch.int64, device=device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return Tokens(offsets, torch.cat(chunks), tokens.gains[:0], tokens.residuals[:0])


def _runs(view: View, first: int, last: int) -> Iterator[tuple[Segment, int, int, slice]]:
    """Segments with the tokens, and the offsets, of documents ``first`` to ``last``."""
    for segment, base in zip(view.segments, view.bases.tolist(), strict=False):
        start, stop = max(first - base, 0), min(last - base, segment.n_docs)
        if stop > start:
            tokens = segment.arrays.doc_offsets[[start, stop]].tolist()
            yield segment, tokens[0], tokens[1], slice(start, stop + 1)


def _vectors(view: View, first: int, last: int, device: torch.device) -> torch.Tensor:
    """(n_docs, dim) float32 decoded document vectors."""
    quantizer = view.codec.codec.documents
    vectors = torch.empty((last - first, view.codec.codec.dim), device=device)
    at = 0
    for segment, _, _, docs in _runs(view, first, last):
        for begin in range(docs.start, docs.stop - 1, _CHUNK_DOCS):
            chunk = slice(begin, min(begin + _CHUNK_DOCS, docs.stop - 1))
            decoded = quantizer.decode(
                segment.arrays.doc_gains[chunk], segment.arrays.doc_vectors[chunk]
            )
            vectors[at : at + len(decoded)] = _tensor(decoded).to(device)
            at += len(decoded)
    return vectors


def _codec(codec: Codec, device: torch.device) -> dict[str, Any]:
    norms = np.sqrt(2 * codec.centroids.half_norms)
    longest = max(float(norms.max(initial=0.0)), 255 * codec.residuals.gain_step, 1e-12)

    def on_device(array: npt.ArrayLike, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return _tensor(np.asarray(array)).to(device=device, dtype=dtype)

    scales = codec.centroids.scales
    return {
        "centroids": on_device(codec.centroids.values, torch.int8),
        "scales": on_device(scales),
        "mean": on_device(codec.mean),
        "gain_step": on_device(np.array([codec.residuals.gain_step])),
        "codebook": Codebook(on_device(codec.residuals.codebook), None),
        "longest": longest,
        "near_scales": on_device(scales / np.float32(longest)),
        "near_gain_step": on_device(np.array([codec.residuals.gain_step / longest])),
        "near_codebook": _near_codebook(codec, on_device),
    }


def _near_codebook(codec: Codec, on_device: Any) -> Codebook:
    """The codebook in float16; where all dimensions share 16 levels, one small table for all bytes."""
    shared = codec.residuals.shared
    if shared is None:
        return Codebook(on_device(codec.residuals.codebook, torch.float16), None)
    levels, scales = shared
    bytes_ = np.arange(256)
    entries = np.stack([levels[bytes_ & 15], levels[bytes_ >> 4]], axis=1) / _LEVELS
    return Codebook(on_device(entries[None], torch.float16), on_device(scales * _LEVELS))


def _tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """A tensor of a mapped array's values: torch takes no read-only memory without a warning."""
    return torch.from_numpy(np.array(array))
