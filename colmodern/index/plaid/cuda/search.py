"""Searching a compressed index on one GPU or several, each with a share of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch

from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.cuda.stages import Plan, find
from colmodern.index.plaid.cuda.stored import StoredTokens, expect_usable, upload_stored
from colmodern.index.plaid.cuda.upload import DeviceDocuments, upload
from colmodern.index.plaid.search.stored import StoredEmbeddings
from colmodern.index.plaid.search.view import DocIndex, View
from colmodern.kernels.cuda.batches import (
    Group,
    Matches,
    StartedTiles,
    by_lanes,
    collect,
    start_tiles,
)
from colmodern.kernels.cuda.exact import score_documents
from colmodern.kernels.cuda.graphs import Replays
from colmodern.kernels.cuda.memory import (
    budget,
    free_bytes,
    naming_memory,
    on,
    share_out,
    to_device,
)
from colmodern.kernels.cuda.runtime import cache_bytes
from colmodern.kernels.types import SearchBudget
from colmodern.ragged.offsets import offsets_of

Floats = npt.NDArray[np.float32]
_MOST_QUERIES = 64  # at a time
_RECORDED = 32  # a recording keeps its memory: larger parts of the room are launched


class CudaSearch:
    """A view's documents on GPUs, to be searched under any view of the same segments.

    devices: the GPUs; memory: bytes that may stay on each, default most of what is free

    One search at a time; others wait. Raises ResourceError when the codes do not fit.
    """

    def __init__(
        self, view: View, devices: Sequence[torch.device], memory: int | None = None
    ) -> None:
        shares = share_out(_token_ends(view), len(devices))
        cure = "free some, lower device_max_memory, so that residuals stay with the host"
        with naming_memory("the index", cure):
            self.corpora = [
                upload(view, first, last, device, memory)
                for device, (first, last) in zip(devices, shares, strict=True)
            ]
        self._memory = memory
        self._lock = Lock()
        self._kept: tuple[Embeddings, list[StoredTokens] | None] | None = None
        self._measure_room()
        self._open: tuple[View, list[torch.Tensor | None]] | None = None
        self._n_views = 0

    def search(
        self,
        queries: Sequence[Floats],
        view: View,
        budget: SearchBudget,
        stored: StoredEmbeddings | None,
    ) -> list[Matches]:
        """The n_scored best documents of each query from each GPU.

        queries: (n_query_tokens, dim) float32 each
        stored: for scores of stored embeddings, which the first search with them copies to the GPUs
        """
        with self._lock:
            kept = None if stored is None else self._keep(stored)
            groups = by_lanes(queries)
            started = [
                self._start(number, groups, open_docs, budget, kept[number] if kept else None)
                for number, open_docs in enumerate(self._open_docs(view))
            ]
            # only now does the host wait
            by_device = [
                collect(tiles, len(queries), corpus.first)
                for tiles, corpus in zip(started, self.corpora, strict=True)
            ]
            joined = [
                (np.concatenate(doc_index), np.concatenate(scores))
                for doc_index, scores in (
                    zip(*matches, strict=True) for matches in zip(*by_device, strict=True)
                )
            ]
            if stored is None or kept is not None:
                return joined
            device = self.corpora[0].device
            rescored = [
                _start_rescoring(query, doc_index, stored, device)
                for query, (doc_index, _) in zip(queries, joined, strict=True)
            ]
            return [(doc_index, scores[0].cpu().numpy()) for doc_index, scores in rescored]

    def _keep(self, stored: StoredEmbeddings) -> list[StoredTokens] | None:
        """Each GPU's share of embeddings that rescore; None where they stay with the host."""
        if self._kept is not None and self._kept[0] is stored.embeddings:
            return self._kept[1]
        self._kept = None  # its memory is needed now
        self._measure_room()
        kept: list[StoredTokens] = []
        for corpus in self.corpora:
            room = budget(corpus.device, self._memory)
            if self._memory is not None:
                room -= corpus.n_bytes
            tokens = upload_stored(
                stored, corpus.first, corpus.first + corpus.n_docs, corpus.device, room
            )
            if tokens is None:
                break
            kept.append(tokens)
        is_whole = len(kept) == len(self.corpora)
        self._kept = stored.embeddings, kept if is_whole else None
        self._measure_room()
        return self._kept[1]

    def _measure_room(self) -> None:
        """The room of searches beside what stays on the GPUs; recordings of other room are dropped."""
        self._replays = [Replays(corpus.device) for corpus in self.corpora]
        self._room = [max(1, free_bytes(corpus.device) // 2) for corpus in self.corpora]

    def _open_docs(self, view: View) -> list[torch.Tensor | None]:
        """For each GPU its documents that a view lets through, or None for all.

        Kept for the next search of the same view, which an index with deletions has.
        """
        if self._open is None or self._open[0] is not view:
            self._n_views += 1
            open_docs: list[torch.Tensor | None] = []
            for corpus in self.corpora:
                docs = _open_docs(view, corpus)
                with on(corpus.device):
                    open_docs.append(None if docs is None else to_device(docs, corpus.device))
            self._open = view, open_docs
        return self._open[1]

    def _start(
        self,
        number: int,
        groups: Sequence[Group],
        open_docs: torch.Tensor | None,
        budget: SearchBudget,
        stored: StoredTokens | None,
    ) -> StartedTiles:
        """Start all queries on a GPU; a tile of a shape that was seen before is replayed."""
        corpus = self.corpora[number]
        n_open = corpus.n_docs if open_docs is None else len(open_docs)
        plan = Plan(min(budget.n_candidates, n_open), min(budget.n_scored, n_open))
        plan = plan._replace(n_candidates=max(plan))
        if n_open == 0:
            return []
        view = 0 if open_docs is None else self._n_views

        def matches_of(tile: torch.Tensor) -> torch.Tensor:
            n, n_lanes = tile.shape[:2]
            if n * self._query_bytes(number, n_open, n_lanes) > self._room[number] // _RECORDED:
                return find(corpus, to_device(tile.numpy(), corpus.device), open_docs, plan, stored)
            packed = self._replays[number].run(
                (n, n_lanes, plan, view, stored is not None),
                tile,
                lambda queries: find(corpus, queries, open_docs, plan, stored),
            )
            # the next tile of this shape overwrites what a graph returns
            return packed.clone()

        with on(corpus.device):
            return start_tiles(groups, lambda lanes: self._tile(number, n_open, lanes), matches_of)

    def _tile(self, number: int, n_open: int, lanes: int) -> int:
        """Queries at a time: their scores fit the GPU, their tables half of its cache."""
        corpus = self.corpora[number]
        by_memory = self._room[number] // self._query_bytes(number, n_open, lanes)
        by_cache = cache_bytes(corpus.device) // 2 // (len(corpus.centroids) * lanes)
        return max(1, min(_MOST_QUERIES, by_memory, max(4, by_cache)))

    def _query_bytes(self, number: int, n_open: int, lanes: int) -> int:
        """Memory of a GPU that a query takes while it is searched."""
        corpus = self.corpora[number]
        return 32 * n_open + 4 * corpus.n_docs + 4 * len(corpus.centroids) * lanes + (1 << 16)


def _token_ends(view: View) -> torch.Tensor:
    """(n_docs + 1,) offsets over all segments."""
    lengths = [np.diff(segment.arrays.doc_offsets) for segment in view.segments]
    return torch.from_numpy(offsets_of(np.concatenate([np.empty(0, np.int64), *lengths])))


def _open_docs(view: View, corpus: DeviceDocuments) -> npt.NDArray[np.int32] | None:
    """Documents of a GPU that may be returned, None for all."""
    if view.n_open == int(view.bases[-1]):
        return None
    doc_index = view.open_docs()
    start, stop = np.searchsorted(doc_index, [corpus.first, corpus.first + corpus.n_docs])
    if stop - start == corpus.n_docs:
        return None
    return (doc_index[start:stop] - corpus.first).astype(np.int32)


def _start_rescoring(
    query: Floats,
    doc_index: DocIndex,
    stored: StoredEmbeddings,
    device: torch.device,
) -> tuple[DocIndex, torch.Tensor]:
    """The same documents in order, and on the GPU (1, n) scores of their stored embeddings."""
    doc_index = np.sort(doc_index)
    documents = stored.select(doc_index)
    expect_usable(documents, doc_index, stored)
    with on(device):
        scores = score_documents(
            to_device(by_lanes([query])[0][1], device),
            None,
            to_device(documents.values, device),
            to_device(documents.offsets, device),
        )
        return doc_index, scores
