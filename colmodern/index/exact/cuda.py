"""Exact search on GPUs: embeddings stay there if they fit, else they pass through in chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from colmodern.errors import ResourceError
from colmodern.index.finite import expect_finite
from colmodern.kernels.cuda.batches import (
    Group,
    Matches,
    StartedTiles,
    by_lanes,
    start_tiles,
)
from colmodern.kernels.cuda.exact import quantize_tokens, score_documents
from colmodern.kernels.cuda.graphs import Replays
from colmodern.kernels.cuda.memory import (
    budget,
    free_bytes,
    naming_memory,
    on,
    share_out,
    to_device,
)
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import LARGEST_VALUE
from colmodern.ragged.store import EmbeddingStore

_log = logging.getLogger(__name__)
_CHUNK_TOKENS = 1 << 20  # tokens copied at a time to where they stay
_LARGEST_CHUNK = 1 << 30  # bytes that pass through at a time
_MOST_QUERIES = 256  # queries at a time
_RECORDED = 32  # a recording keeps its memory: larger parts of the room are launched
_SPARE = 32  # documents beyond k, scored again in float32


class _Chunk(NamedTuple):
    """Documents on a GPU, from doc_index first on; values in the dtype that they are stored in.

    scales: (n_tokens,) float32 that int8 values are to be multiplied by, else None
    """

    first: int
    values: torch.Tensor
    offsets: torch.Tensor
    scales: torch.Tensor | None = None


class CudaExact:
    """MaxSim of queries with all documents.

    id_ranks: gives the (n_docs,) rank of each document's id among all ids in order; it is called when
        equal scores are cut apart
    devices: the GPUs; memory: bytes that may be used on each, default most of what is free
    is_int8: tokens are rounded to int8 once they are on a GPU

    One search at a time; others wait.
    """

    def __init__(
        self,
        embeddings: TokenEmbeddings | EmbeddingStore,
        id_ranks: Callable[[], npt.NDArray[np.int64]],
        devices: Sequence[torch.device],
        memory: int | None,
        *,
        is_int8: bool = False,
    ) -> None:
        self._is_int8 = is_int8
        self._embeddings = embeddings
        self._id_ranks = id_ranks
        self._devices = devices
        self._memory = memory
        self._replays = [Replays(device) for device in devices]
        self._streams = [_new_stream(device) for device in devices]
        self._lock = Lock()
        self._resident: list[_Chunk] | None = None
        self._is_too_small = False
        self._is_checked = False  # whether a search has read all documents
        self._room = [free_bytes(device) // 4 for device in devices]  # for scores

    def search(self, queries: TokenEmbeddings, k: int) -> Iterator[tuple[int, list[Matches]]]:
        """The number of documents of each chunk, and matches of each query among them.

        The best k documents are among the matches, and their scores are float32 MaxSim. Raises
        InputError for a document whose values are not finite.
        """
        with self._lock:
            groups, n = by_lanes(list(queries)), len(queries)
            if self._resident is None and self._fits():
                self._resident = self._upload_resident()
            if self._resident is not None:
                started = [
                    self._start(number, chunk, groups, k, stays=True)
                    for number, chunk in enumerate(self._resident)
                ]
                for chunk, tiles in zip(self._resident, started, strict=True):
                    yield len(chunk.offsets) - 1, self._collect(chunk, tiles, groups, k)
                return
            # chunks take turns on the GPUs: the next is copied while the last is scored
            waiting: list[tuple[_Chunk, StartedTiles]] = []
            for number, chunk in enumerate(self._passing_chunks(n)):
                device_index = number % len(self._devices)
                waiting.append((chunk, self._start(device_index, chunk, groups, k, stays=False)))
                if len(waiting) > len(self._devices):
                    scored, tiles = waiting.pop(0)
                    yield len(scored.offsets) - 1, self._collect(scored, tiles, groups, k)
            for chunk, tiles in waiting:
                yield len(chunk.offsets) - 1, self._collect(chunk, tiles, groups, k)

    def _upload_resident(self) -> list[_Chunk] | None:
        """Each GPU's documents; None, from then on, where the GPUs turn out to have less room."""
        try:
            chunks = list(self._resident_chunks())
        except torch.cuda.OutOfMemoryError as error:
            _log.warning(
                "a GPU is out of memory (%s): every search reads embeddings from the host again",
                error,
            )
            self._is_too_small = True
            return None
        self._room = [free_bytes(device) // 2 for device in self._devices]
        return chunks

    def _fits(self) -> bool:
        if self._is_too_small:
            return False
        needed = self._embeddings.n_tokens * self._row_bytes + 8 * self._embeddings.n_docs
        each = needed // len(self._devices) + (1 << 20)
        room = min(budget(device, self._memory) for device in self._devices)
        if each > room:
            _log.warning(
                "embeddings of %d bytes do not fit %s: every search reads them from the host again",
                needed, ", ".join(map(str, self._devices)),
            )  # fmt: skip
        return each <= room

    @property
    def _row_bytes(self) -> int:
        """Bytes of a token that stays on the GPU."""
        return self._embeddings.dim + 4 if self._is_int8 else self._moved_bytes

    @property
    def _moved_bytes(self) -> int:
        """Bytes of a token on its way to the GPU."""
        return self._embeddings.dim * (2 if self._dtype == torch.float16 else 4)

    @property
    def _dtype(self) -> torch.dtype:
        """The dtype of values on the GPU: float16 stays what it is, all else becomes float32."""
        if isinstance(self._embeddings, TokenEmbeddings):
            is_half = self._embeddings.values.dtype == np.float16
        else:
            is_half = all(shard.values.dtype == np.float16 for shard in self._embeddings.shards)
        return torch.float16 if is_half else torch.float32

    def _resident_chunks(self) -> Iterator[_Chunk]:
        """Copy each GPU's share of the documents to it."""
        lengths = [np.empty(0, np.int64)]
        lengths += [documents.lengths for _, documents in self._embeddings.chunks(_CHUNK_TOKENS)]
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
                for at, documents in self._embeddings.chunks(_CHUNK_TOKENS):
                    begin = max(start, int(ends[at]))
                    end = min(stop, int(ends[at]) + documents.n_tokens)
                    if begin < end:
                        host_values = documents.values[begin - int(ends[at]) : end - int(ends[at])]
                        copy = torch.from_numpy(np.array(host_values)).to(device)
                        _expect_finite(copy, documents, at)
                        target = slice(begin - start, end - start)
                        if scales is None:
                            values[target] = copy
                        else:
                            values[target], scales[target] = quantize_tokens(copy)
                yield _Chunk(
                    first,
                    values,
                    (ends[first : last + 1] - start).to(device),
                    scales,
                )

    def _passing_chunks(self, n_queries: int) -> Iterator[_Chunk]:
        room = min(budget(device, self._memory) for device in self._devices)
        # three chunks at a time: one is scored, one copied, one freed
        n_tokens = min(room // 4, _LARGEST_CHUNK) // self._moved_bytes
        n_docs = max(1, room // 4 // (24 * min(n_queries, _MOST_QUERIES) + 16))
        for number, (first, documents) in enumerate(self._embeddings.chunks(n_tokens, n_docs)):
            if documents.n_tokens > n_tokens:
                raise ResourceError(
                    f"a document of {documents.n_tokens} tokens takes "
                    f"{documents.n_tokens * self._moved_bytes} bytes, more than a quarter of the "
                    f"{room} that may be used on a GPU; raise device_max_memory"
                )
            device = self._devices[number % len(self._devices)]
            with on(device):
                stream = self._streams[number % len(self._devices)]
                values = to_device(documents.values, device, stream).to(self._dtype)
                if not self._is_checked:
                    _expect_finite(values, documents, first)
                scales = None
                if self._is_int8:
                    values, scales = quantize_tokens(values)
                yield _Chunk(
                    first,
                    values,
                    to_device(documents.offsets, device, stream),
                    scales,
                )
        self._is_checked = True

    def _start(
        self, number: int, chunk: _Chunk, groups: Sequence[Group], k: int, *, stays: bool
    ) -> StartedTiles:
        """Start all queries on a GPU; over documents that stay, a shape seen before is replayed."""
        device, n_docs = chunk.values.device, len(chunk.offsets) - 1
        n = min(n_docs, k + k // 8 + _SPARE)
        if n_docs == 0:
            return []

        def matches_of(tile: torch.Tensor) -> torch.Tensor:
            n_queries, n_lanes = tile.shape[:2]
            if not stays or n_queries * query_bytes > self._room[number] // _RECORDED:
                return _find(chunk, to_device(tile.numpy(), device), n)
            packed = self._replays[number].run(
                (n_queries, n_lanes, n), tile, lambda queries: _find(chunk, queries, n)
            )
            # the next tile of this shape overwrites what a graph returns
            return packed.clone()

        query_bytes = 24 * n_docs + (1 << 12)
        with on(device):
            by_memory = self._room[number] // query_bytes
            n_at_once = max(1, min(_MOST_QUERIES, by_memory))
            return start_tiles(groups, lambda lanes: n_at_once, matches_of)

    def _collect(
        self, chunk: _Chunk, started: StartedTiles, groups: Sequence[Group], k: int
    ) -> list[Matches]:
        """Wait for a GPU; a query whose k best are cut out of equal ones is searched again by rank."""
        n_queries = sum(len(positions) for positions, _ in groups)
        matches: list[Matches] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * n_queries
        n_docs = len(chunk.offsets) - 1
        for positions, packed in started:
            docs, *bits = packed.cpu().numpy().transpose(1, 0, 2)
            scores, near = (np.ascontiguousarray(row).view(np.float32) for row in bits)
            is_cut = _is_cut(scores, near, k) if docs.shape[1] < n_docs else [False] * len(docs)
            for i, position in enumerate(positions):
                matches[position] = docs[i].astype(np.int64) + chunk.first, scores[i]
                if is_cut[i]:
                    matches[position] = self._by_rank(
                        chunk, _padded(groups, position), len(docs[i])
                    )
        return matches

    def _by_rank(self, chunk: _Chunk, query: npt.NDArray[np.float32], n: int) -> Matches:
        """The n best documents of one query, of equal scores those whose ids come first."""
        device = chunk.values.device
        ranks = self._id_ranks()[chunk.first : chunk.first + len(chunk.offsets) - 1]
        with on(device), naming_memory("one query at a time", "free some"):
            order = to_device(ranks.astype(np.int32), device)
            packed = _find(chunk, to_device(query, device), n, order).cpu().numpy()[0]
        return packed[0].astype(np.int64) + chunk.first, packed[1].view(np.float32)


def _expect_finite(values: torch.Tensor, documents: TokenEmbeddings, first: int) -> None:
    """Raise InputError for documents that cannot be scored.

    values: tokens of these documents, on the GPU
    first: doc_index of the first document
    """
    # no sum of a row with NaN or infinity is a small number
    sums = values @ torch.ones(values.shape[1], dtype=values.dtype, device=values.device)
    if not bool((sums.float().abs() <= LARGEST_VALUE).all()):
        expect_finite(documents, first)


def _is_cut(
    scores: npt.NDArray[np.float32], near: npt.NDArray[np.float32], k: int
) -> npt.NDArray[np.bool_]:
    """Whether one of a query's k best documents may be equal to one that was left out.

    scores: (n_queries, n) exact ones; near: those by which n documents of all were selected
    """
    n = scores.shape[1]
    kth = np.partition(scores, n - min(k, n), axis=1)[:, n - min(k, n), None]
    is_least = near <= near.min(axis=1, keepdims=True)
    return np.asarray(((scores >= kth) & is_least).any(axis=1))


def _padded(groups: Sequence[Group], position: int) -> npt.NDArray[np.float32]:
    """(1, n_lanes, dim) the query at this position."""
    for positions, padded in groups:
        number = int(np.searchsorted(positions, position))
        if number < len(positions) and positions[number] == position:
            return padded[number : number + 1]
    raise AssertionError(position)


def _find(
    chunk: _Chunk, queries: torch.Tensor, n: int, id_ranks: torch.Tensor | None = None
) -> torch.Tensor:
    """The n best documents of each query, in no order.

    Values of 8 and 16 bits are multiplied as they are; the best are scored again with the whole query.

    id_ranks: (n_docs,) int32, decides between equal scores: the smaller first; None: any of them

    Returns:
        (n_queries, 3, n) int32: documents, the bits of their float32 scores, and of those by which
        they were selected.
    """
    is_exact = chunk.values.dtype == torch.float32
    near_queries = queries
    if not is_exact:  # no value too large for the dtype
        units = queries.norm(dim=2).amax(dim=1).clamp_min(1e-12)
        near_queries = (queries / units[:, None, None]).half()
    documents = (chunk.values, chunk.offsets)
    all_scores = score_documents(near_queries, None, *documents, doc_scales=chunk.scales)
    keys = all_scores if id_ranks is None else _keys(all_scores, id_ranks)
    docs = keys.topk(n, dim=1, sorted=False).indices
    near = all_scores.gather(1, docs)
    docs = docs.int()
    scores = near
    if not is_exact:
        scores = score_documents(queries, docs, *documents, doc_scales=chunk.scales)
    return torch.stack([docs, scores.view(torch.int32), near.view(torch.int32)], dim=1)


def _keys(scores: torch.Tensor, id_ranks: torch.Tensor) -> torch.Tensor:
    """Numbers in the order of scores, and of ids where they are equal: the bits of both in one."""
    bits = (scores + 0.0).view(torch.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    return (ordered << 32) - id_ranks


def _new_stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
