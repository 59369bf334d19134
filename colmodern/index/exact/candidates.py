"""Exact scores on a GPU of documents that come with their query, as a reranker's do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from colmodern.index.exact.index import ExactIndex
from colmodern.index.exact.scores import DeviceSearch
from colmodern.index.ranking import Matches
from colmodern.kernels.cuda.batches import by_lanes
from colmodern.kernels.cuda.exact import score_documents
from colmodern.kernels.cuda.graphs import Replays
from colmodern.kernels.cuda.memory import naming_memory, on
from colmodern.kernels.cuda.runtime import power_of_two
from colmodern.kernels.device import Devices
from colmodern.ragged.embeddings import TokenEmbeddings

_FEWEST_TOKENS, _FEWEST_DOCS = 1024, 16  # least room of a buffer
_LARGEST = 1 << 28  # bytes of a buffer; more documents are scored in chunks, as a collection's
_MOST_BYTES = 1 << 29  # bytes of all buffers


class _Shape(NamedTuple):
    """The shape of a buffer: a query, offsets of documents, and their tokens, one behind another.

    n_docs, n_tokens: powers of two
    """

    n_lanes: int
    dim: int
    n_docs: int
    n_tokens: int
    dtype: torch.dtype

    @property
    def offsets_at(self) -> int:
        """Byte at which offsets begin."""
        return 4 * self.n_lanes * self.dim

    @property
    def values_at(self) -> int:
        """Byte at which values begin; a multiple of 16, as kernels like to read."""
        return self.offsets_at + 8 * (self.n_docs + 2)

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole."""
        return self.values_at + self.n_tokens * self.dim * self.dtype.itemsize

    def score(self, buffer: torch.Tensor) -> torch.Tensor:
        """(n_docs,) float32 scores."""
        query = buffer[: self.offsets_at].view(torch.float32).view(1, self.n_lanes, self.dim)
        offsets = buffer[self.offsets_at : self.values_at].view(torch.int64)[: self.n_docs + 1]
        values = buffer[self.values_at :].view(self.dtype).view(self.n_tokens, self.dim)
        return score_documents(query, None, values, offsets)[0]


class CandidateScorer:
    """Float32 MaxSim of a query with documents, both from the host.

    They are copied into a buffer of their shape, rounded up to powers of two, over which launches are
    recorded once and replayed for all others. Documents behind the last have no tokens. Buffers take
    512 MB together: those that were not used for longest go, with what was recorded over them.

    One call at a time; others wait.

    Attributes:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._replays = Replays(device)
        self._buffers: dict[_Shape, torch.Tensor] = {}
        self._lock = Lock()

    def takes(self, documents: TokenEmbeddings) -> bool:
        """Whether these documents are few enough for one buffer."""
        return _shape_of(0, documents).n_bytes <= _LARGEST

    def scores(
        self, query: npt.NDArray[np.floating], documents: TokenEmbeddings
    ) -> npt.NDArray[np.float32]:
        """(n_docs,) scores of a (n_query_tokens, dim) query.

        Raises ResourceError when the GPU has no memory for them.
        """
        padded = by_lanes([query])[0][1]
        shape = _shape_of(padded.shape[1], documents)
        cure = "rerank fewer documents at a time"
        with self._lock, on(self.device), naming_memory("the candidates of a query", cure):
            buffer = self._buffer(shape)
            packed = _packed(padded, documents, shape, is_pinned=self.device.type == "cuda")
            buffer[: len(packed)].copy_(packed, non_blocking=True)
            scores = self._replays.run(shape, buffer, shape.score).cpu().numpy()
        return np.array(scores[: documents.n_docs])

    def _buffer(self, shape: _Shape) -> torch.Tensor:
        buffer = self._buffers.pop(shape, None)
        if buffer is None:
            n_bytes = sum(other.n_bytes for other in self._buffers)
            while self._buffers and n_bytes + shape.n_bytes > _MOST_BYTES:
                oldest = next(iter(self._buffers))
                del self._buffers[oldest]
                self._replays.forget(oldest)  # a recording keeps what it reads
                n_bytes -= oldest.n_bytes
            buffer = torch.zeros(shape.n_bytes, dtype=torch.uint8, device=self.device)
        self._buffers[shape] = buffer  # the last used is the last to go
        return buffer


class CandidateIndex(ExactIndex):
    """An exact index of a query's candidates, scored by what outlives it.

    Args:
        embeddings: The candidates.
        doc_ids: Their ids.
        devices: One GPU.
        scorer: Scores them, unless they are too many.
    """

    def __init__(
        self,
        embeddings: TokenEmbeddings,
        doc_ids: Sequence[str],
        devices: Devices,
        scorer: CandidateScorer,
    ) -> None:
        self._scorer = scorer
        super().__init__(embeddings, doc_ids, device=devices)

    def _cuda_exact(self, devices: Sequence[torch.device], memory: int | None) -> DeviceSearch:
        embeddings = self.embeddings
        if isinstance(embeddings, TokenEmbeddings) and self._scorer.takes(embeddings):
            return CandidateSearch(embeddings, self._scorer)
        return super()._cuda_exact(devices, memory)


class CandidateSearch:
    """What an exact index asks its GPUs for, answered by a CandidateScorer."""

    def __init__(self, documents: TokenEmbeddings, scorer: CandidateScorer) -> None:
        self._documents = documents
        self._scorer = scorer

    def search(self, queries: TokenEmbeddings, k: int) -> Iterator[tuple[int, list[Matches]]]:
        """The number of documents, and the scores of all of them for each query.

        Args:
            queries: The queries.
            k: Asked for by DeviceSearch; so few documents are all ranked by the index.
        """
        docs = np.arange(self._documents.n_docs)
        scores = [self._scorer.scores(query, self._documents) for query in queries]
        yield len(docs), [(docs, query_scores) for query_scores in scores]


def _shape_of(n_lanes: int, documents: TokenEmbeddings) -> _Shape:
    is_half = documents.values.dtype == np.float16
    return _Shape(
        n_lanes,
        documents.dim,
        power_of_two(documents.n_docs, least=_FEWEST_DOCS),
        power_of_two(documents.n_tokens, least=_FEWEST_TOKENS),
        torch.float16 if is_half else torch.float32,
    )


def _packed(
    query: npt.NDArray[np.float32], documents: TokenEmbeddings, shape: _Shape, *, is_pinned: bool
) -> torch.Tensor:
    """The bytes of a buffer up to the last token, on the host."""
    dtype = np.float16 if shape.dtype == torch.float16 else np.float32
    offsets = np.full(shape.n_docs + 2, documents.n_tokens, np.int64)
    offsets[: documents.n_docs + 1] = documents.offsets - documents.offsets[0]
    arrays = (query, offsets, np.ascontiguousarray(documents.values, dtype))
    n_bytes = sum(array.nbytes for array in arrays)
    packed = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=is_pinned)
    flat = [array.reshape(-1).view(np.uint8) for array in arrays]
    np.concatenate(flat, out=packed.numpy())
    return packed
