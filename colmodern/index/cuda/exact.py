"""Exact search on GPUs: embeddings stay there where they fit, else they pass through in pieces."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from colmodern.errors import ResourceError
from colmodern.index.cuda.memory import budget, free_bytes, on, share_out, to_device
from colmodern.index.cuda.queries import Found, Group, Started, by_lanes, collect, start_tiles
from colmodern.index.cuda.replay import Replays
from colmodern.index.finite import expect_finite
from colmodern.kernels.cuda.exact import quantize_tokens, score_documents
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import LARGEST_VALUE
from colmodern.ragged.store import EmbeddingStore

_log = logging.getLogger(__name__)
_PIECE_TOKENS = 1 << 20  # copied at a time to where they stay
_LARGEST_PIECE = 1 << 30  # bytes that pass through at a time
_MOST_QUERIES = 256  # at a time
_SPARE = 32  # documents beyond k, scored again in float32


class _Piece(NamedTuple):
    """Documents on a GPU, from doc_index first on; values in the dtype that they are stored in.

    scales: (n_tokens,) float32 that int8 values are to be multiplied by, else None
    places: (n_docs,) int32, what decides between equal scores: the smaller first
    """

    first: int
    values: torch.Tensor
    offsets: torch.Tensor
    places: torch.Tensor
    scales: torch.Tensor | None = None


class CudaExact:
    """All documents of some embeddings, scored by MaxSim.

    places: (n_docs,) of each document's id among all ids in order, which decides ties
    devices: the GPUs; memory: bytes that may be used on each, default most of what is free
    is_int8: tokens are rounded to int8 once they are on a GPU

    One search at a time; others wait.
    """

    def __init__(
        self,
        embeddings: TokenEmbeddings | EmbeddingStore,
        places: npt.NDArray[np.int64],
        devices: Sequence[torch.device],
        memory: int | None,
        *,
        is_int8: bool = False,
    ) -> None:
        self._is_int8 = is_int8
        self._embeddings = embeddings
        self._places = torch.from_numpy(places.astype(np.int32))
        self._devices = devices
        self._memory = memory
        self._replays = [Replays(device) for device in devices]
        self._streams = [_new_stream(device) for device in devices]
        self._lock = Lock()
        self._staying: list[_Piece] | None = None
        self._is_too_small = False
        self._is_checked = False  # whether a search has read all documents
        self._room = [free_bytes(device) // 4 for device in devices]  # for scores

    def search(self, queries: TokenEmbeddings, k: int) -> Iterator[tuple[int, list[Found]]]:
        """Pieces of the answer: how many documents they are of, and rows and scores of each query.

        The best k documents are among the rows, and their scores are float32 MaxSim. Raises
        InputError for a document whose values are not finite.
        """
        with self._lock:
            groups, n = by_lanes(list(queries)), len(queries)
            if self._staying is None and self._fits():
                self._staying = self._stayed()
            if self._staying is not None:
                started = [
                    self._start(number, piece, groups, k, is_single=n == 1)
                    for number, piece in enumerate(self._staying)
                ]
                for piece, part in zip(self._staying, started, strict=True):
                    yield len(piece.offsets) - 1, collect(part, n, piece.first)
                return
            # pieces take turns on the GPUs: the next is copied while the last is scored
            waiting: list[tuple[_Piece, Started]] = []
            for number, piece in enumerate(self._pass(n)):
                device_index = number % len(self._devices)
                waiting.append(
                    (piece, self._start(device_index, piece, groups, k, is_single=False))
                )
                if len(waiting) > len(self._devices):
                    done, part = waiting.pop(0)
                    yield len(done.offsets) - 1, collect(part, n, done.first)
            for piece, part in waiting:
                yield len(piece.offsets) - 1, collect(part, n, piece.first)

    def _stayed(self) -> list[_Piece] | None:
        """Each GPU's documents; None, for good, where the GPUs turn out to have less room."""
        try:
            pieces = list(self._stay())
        except torch.cuda.OutOfMemoryError as error:
            _log.warning(
                "a GPU is out of memory (%s): every search reads embeddings anew from the host",
                error,
            )
            self._is_too_small = True
            return None
        self._room = [free_bytes(device) // 2 for device in self._devices]
        return pieces

    def _fits(self) -> bool:
        if self._is_too_small:
            return False
        needed = self._embeddings.n_tokens * self._row_bytes + 12 * self._embeddings.n_docs
        each = needed // len(self._devices) + (1 << 20)
        room = min(budget(device, self._memory) for device in self._devices)
        if each > room:
            _log.warning(
                "embeddings of %d bytes do not fit %s: every search reads them anew from the host",
                needed, ", ".join(map(str, self._devices)),
            )  # fmt: skip
        return each <= room

    @property
    def _row_bytes(self) -> int:
        """Of a token that stays."""
        return self._embeddings.dim + 4 if self._is_int8 else self._moved_bytes

    @property
    def _moved_bytes(self) -> int:
        """Of a token on its way."""
        return self._embeddings.dim * (2 if self._dtype == torch.float16 else 4)

    @property
    def _dtype(self) -> torch.dtype:
        """The dtype of values on the GPU: float16 stays what it is, all else becomes float32."""
        if isinstance(self._embeddings, TokenEmbeddings):
            is_half = self._embeddings.values.dtype == np.float16
        else:
            is_half = all(shard.values.dtype == np.float16 for shard in self._embeddings.shards)
        return torch.float16 if is_half else torch.float32

    def _stay(self) -> Iterator[_Piece]:
        """Copy each GPU's share of the documents to it."""
        lengths = [np.empty(0, np.int64)]
        lengths += [part.lengths for _, part in self._embeddings.chunks(_PIECE_TOKENS)]
        ends = torch.zeros(self._embeddings.n_docs + 1, dtype=torch.int64)
        torch.cumsum(torch.from_numpy(np.concatenate(lengths)), 0, out=ends[1:])
        for device, (first, last) in zip(
            self._devices, share_out(ends, len(self._devices)), strict=True
        ):
            start, stop = int(ends[first]), int(ends[last])
            with on(device):
                dtype = torch.int8 if self._is_int8 else self._dtype
                values = torch.empty(
                    (stop - start, self._embeddings.dim), dtype=dtype, device=device
                )
                scales = torch.empty(stop - start, device=device) if self._is_int8 else None
                for at, part in self._embeddings.chunks(_PIECE_TOKENS):
                    begin = max(start, int(ends[at]))
                    end = min(stop, int(ends[at]) + part.n_tokens)
                    if begin < end:
                        rows = part.values[begin - int(ends[at]) : end - int(ends[at])]
                        copy = torch.from_numpy(np.array(rows)).to(device)
                        _expect_finite(copy, part, at)
                        place = slice(begin - start, end - start)
                        if scales is None:
                            values[place] = copy
                        else:
                            values[place], scales[place] = quantize_tokens(copy)
                yield _Piece(
                    first,
                    values,
                    (ends[first : last + 1] - start).to(device),
                    self._places[first:last].to(device),
                    scales,
                )

    def _pass(self, n_queries: int) -> Iterator[_Piece]:
        room = min(budget(device, self._memory) for device in self._devices)
        # three pieces of values at a time: one scored, one copied, one let go
        n_tokens = min(room // 4, _LARGEST_PIECE) // self._moved_bytes
        n_docs = max(1, room // 4 // (24 * min(n_queries, _MOST_QUERIES) + 16))
        for number, (first, part) in enumerate(self._embeddings.chunks(n_tokens, n_docs)):
            if part.n_tokens > n_tokens:
                raise ResourceError(
                    f"a document of {part.n_tokens} tokens takes {part.n_tokens * self._moved_bytes} "
                    f"bytes, a quarter of the {room} that may be used on a GPU; raise device_memory"
                )
            device = self._devices[number % len(self._devices)]
            with on(device):
                stream = self._streams[number % len(self._devices)]
                places = self._places[first : first + part.n_docs]
                values = to_device(part.values, device, stream).to(self._dtype)
                if not self._is_checked:
                    _expect_finite(values, part, first)
                scales = None
                if self._is_int8:
                    values, scales = quantize_tokens(values)
                yield _Piece(
                    first,
                    values,
                    to_device(part.offsets, device, stream),
                    to_device(places.numpy(), device, stream),
                    scales,
                )
        self._is_checked = True

    def _start(
        self, number: int, piece: _Piece, groups: Sequence[Group], k: int, *, is_single: bool
    ) -> Started:
        """Start all queries on a GPU; a single query over documents that stay is replayed."""
        device, n_docs = piece.values.device, len(piece.offsets) - 1
        n = min(n_docs, k + k // 8 + _SPARE)
        if n_docs == 0:
            return []

        def found_by(given: torch.Tensor) -> torch.Tensor:
            if is_single:
                key = (given.shape[1], n)
                return self._replays[number].run(key, given, lambda asked: _find(piece, asked, n))
            return _find(piece, to_device(given.numpy(), device), n)

        with on(device):
            by_memory = self._room[number] // (24 * n_docs + (1 << 12))
            tile = max(1, min(_MOST_QUERIES, by_memory))
            return start_tiles(groups, lambda lanes: tile, found_by)


def _expect_finite(values: torch.Tensor, part: TokenEmbeddings, first: int) -> None:
    """Raise InputError for documents of a part that cannot be scored; values: some of its rows.

    first: of the part's documents, by doc_index
    """
    # no sum of a row with NaN or infinity is a small number
    sums = values @ torch.ones(values.shape[1], dtype=values.dtype, device=values.device)
    if not bool((sums.float().abs() <= LARGEST_VALUE).all()):
        expect_finite(part, first)


def _find(piece: _Piece, queries: torch.Tensor, n: int) -> torch.Tensor:
    """The n best documents of each query, in no order: (n_queries, 2, n) int32, rows and scores.

    Values of 8 and 16 bits are multiplied as they are; the best are scored again with the whole query.
    """
    is_exact = piece.values.dtype == torch.float32
    near = queries
    if not is_exact:  # no value too large for the dtype
        units = queries.norm(dim=2).amax(dim=1).clamp_min(1e-12)
        near = (queries / units[:, None, None]).half()
    documents = (piece.values, piece.offsets)
    scores = score_documents(near, None, *documents, doc_scales=piece.scales)
    # equal scores in the order of ids: both in one number, the score's bits in its upper half
    bits = (scores + 0.0).view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    keys = (ordered << 32) - piece.places
    rows = keys.topk(n, dim=1, sorted=False).indices.int()
    if is_exact:
        scores = scores.gather(1, rows.long())
    else:
        scores = score_documents(queries, rows, *documents, doc_scales=piece.scales)
    return torch.stack([rows, scores.view(torch.int32)], dim=1)


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
