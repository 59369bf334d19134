"""Exact MaxSim over every document: the truth that faster indexes are measured against."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
import torch

from colmodern.arguments import checked_count, expect_choice, renamed_keywords
from colmodern.errors import InputError, ResourceError
from colmodern.index.base import closed_error
from colmodern.index.exact.located import locator
from colmodern.index.finite import expect_finite, naming_documents
from colmodern.index.inputs import expect_embeddings, query_batch, query_values
from colmodern.index.ranking import Matches, TopK, id_ranks
from colmodern.index.spans import SpanSettings, span_settings, with_spans
from colmodern.index.stores import StoreReference, is_mapped, reference_to
from colmodern.kernels.device import Devices, resolve_device
from colmodern.kernels.torch_exact import maxsim_scores
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import checked_doc_ids
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Precision, Results, ScoredDoc
from colmodern.units import parse_bytes

if TYPE_CHECKING:
    from colmodern.index.exact.cuda import CudaExact
    from colmodern.index.exact.int8 import Int8Search

_log = logging.getLogger(__name__)
_QUERY_TOKENS_AT_ONCE = 1024  # wide enough for the matrix product to be the only cost
_KNOWN_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
_BYTES_PER_SCORE = 8  # a float32 score of a query and a document, and its copy while ranking


class ExactIndex:
    """An exact index: scores every document with every query, in bounded memory.

    Scores are MaxSim in float32. Ties go to the smaller doc_id. A pickle holds the settings and the
    embeddings, or the path of their store.

    Args:
        embeddings: TokenEmbeddings in memory, or an EmbeddingStore that is mapped from disk.
        doc_ids: (n_docs,) unique strings; default "0", "1", ...
        max_memory: Bytes, or text as "512M" or "2G", for copies and similarities at one time.
        device: "auto", "cpu", "cuda", "cuda:N", or GPUs that share the documents as
            "cuda:0,cuda:1". A GPU without Triton is used through torch, which is slower; several
            need Triton.
        device_max_memory: Bytes, or text as "20G", that may stay on a GPU; default most of what is
            free.
        precision: "float32" computes with the values as they are; "int8" with each token rounded
            to 255 steps of its largest value, which changes a score by about a thousandth a query
            token and is two to five times as fast on the CPU.

    Raises:
        InputError: Ids are missing or repeat, precision is unknown, or a document has values that
            are not finite; those of a store are checked when a search reads them.
        ResourceError: ``max_memory`` is too small for the longest document.
        ConfigError: A GPU is not there.
        MissingExtraError: Several GPUs, but no Triton.
    """

    @renamed_keywords(memory_budget="max_memory", device_memory="device_max_memory")
    def __init__(
        self,
        embeddings: TokenEmbeddings | EmbeddingStore,
        doc_ids: Sequence[str] | None = None,
        *,
        max_memory: int | str = "1G",
        device: str | Devices = "cpu",
        device_max_memory: int | str | None = None,
        precision: Precision = "float32",
    ) -> None:
        embeddings = _in_known_floats(expect_embeddings("embeddings", embeddings))
        self._embeddings: TokenEmbeddings | EmbeddingStore | None = embeddings
        expect_choice("precision", precision, get_args(Precision))
        self.precision = precision
        devices = resolve_device(device, kernels="triton or torch")
        is_on_cpu = precision == "int8" and not devices.gpus  # torch has no products of int8
        self.device = "cpu" if is_on_cpu else devices.setting
        if devices.missing:
            where = "on the CPU" if is_on_cpu else "through torch, which is slower"
            _log.warning("exact search runs %s: %s", where, devices.missing)
        self._memory = parse_bytes(max_memory, name="max_memory")
        device_bytes = (
            None
            if device_max_memory is None
            else parse_bytes(device_max_memory, name="device_max_memory")
        )
        self._options = {
            "max_memory": self._memory,
            "device": device.setting if isinstance(device, Devices) else device,
            "device_max_memory": device_bytes,
        }
        n_docs, self._dim = embeddings.n_docs, embeddings.dim
        self.doc_ids = (
            [str(i) for i in range(n_docs)] if doc_ids is None else checked_doc_ids(doc_ids, n_docs)
        )
        self._id_ranks = id_ranks(self.doc_ids)  # once: it takes longer than many a search
        # what is mapped from disk is looked at when the first search reads it
        self._is_checked = not is_mapped(self.embeddings)
        if isinstance(self.embeddings, TokenEmbeddings) and self._is_checked:
            with naming_documents(self.doc_ids):
                expect_finite(self.embeddings)
        self._cuda = self._cuda_exact(devices.gpus, device_bytes) if devices.gpus else None
        self._int8: Int8Search | None = None

    @classmethod
    @renamed_keywords(memory_budget="max_memory", device_memory="device_max_memory")
    def load(
        cls,
        shard_folder: Path | str,
        *,
        max_memory: int | str = "1G",
        device: str | Devices = "cpu",
        device_max_memory: int | str | None = None,
        precision: Precision = "float32",
    ) -> ExactIndex:
        """Open a folder of encoded shards without reading it.

        Args:
            shard_folder: The folder of an EmbeddingStore; its ids are those of the index.
            max_memory: As in the class; so are the other arguments.
            device: See there.
            device_max_memory: See there.
            precision: See there.

        Returns:
            The index.

        Raises:
            StorageError: The folder is damaged, unfinished or foreign.
        """
        store = EmbeddingStore(shard_folder)
        return cls(
            store,
            store.doc_ids,
            max_memory=max_memory,
            device=device,
            device_max_memory=device_max_memory,
            precision=precision,
        )

    def __repr__(self) -> str:
        if self._embeddings is None:
            return "ExactIndex(closed)"
        info = self.info()
        return (
            f"ExactIndex({self._embeddings!r}, precision={self.precision!r}, "
            f"bytes_per_token={info['bytes_per_token']['total']}, device={self.device!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """By settings, with the embeddings or the path of their store; nothing read is copied."""
        source: TokenEmbeddings | StoreReference
        doc_ids: list[str] | None = self.doc_ids
        if isinstance(self.embeddings, EmbeddingStore):
            source = reference_to(self.embeddings)
            doc_ids = None if self.embeddings.doc_ids == doc_ids else doc_ids
        else:
            source = self.embeddings
        return _restored, (type(self), source, doc_ids, self._options, self.precision)

    @property
    def embeddings(self) -> TokenEmbeddings | EmbeddingStore:
        """The documents' embeddings, as they are stored."""
        if self._embeddings is None:
            raise closed_error()
        return self._embeddings

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return self.embeddings.n_docs

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return self.embeddings.dim

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        if self._embeddings is None:
            raise closed_error()
        return isinstance(doc_id, str) and doc_id in self._doc_id_set

    @cached_property
    def _doc_id_set(self) -> frozenset[str]:
        return frozenset(self.doc_ids)

    def search(
        self, query: npt.ArrayLike, k: int = 10, *, spans: bool | SpanSettings = False
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents for one query, best first.

        Args:
            query: (n_query_tokens, dim) array, tensor or nested lists of floats.
            k: Number of documents, at most. Ties go to the smaller doc_id.
            spans: True or SpanSettings for the passages that matched, in float32.

        Returns:
            The best documents with their scores, as Hit where passages were asked for.

        Raises:
            InputError: As from ``search_batch``.
        """
        values = query_values(query, self.dim)
        queries = TokenEmbeddings(values, np.array([0, len(values)]))
        return Results(self.search_batch(queries, k, spans=spans)[0])

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        spans: bool | SpanSettings = False,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Embeddings as an encoder returns them.
            k: Number of documents of each query, at most.
            spans: As in ``search``.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: k is below 1, the queries' dim is not the index's, or a query or a document
                has values that are not finite; or there are no spans.
        """
        queries, settings = query_batch(queries, self.dim), span_settings(spans)
        results = self._search(queries, checked_count("k", k), as_progress(progress))
        if settings is not None:
            wanted = {result.doc_id for ranking in results for result in ranking}
            locate = locator(self.embeddings, self.doc_ids, wanted)
            pairs = zip(results, queries, strict=True)
            results = [with_spans(ranking, query, locate, settings) for ranking, query in pairs]
        return BatchResults(results)

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            Counts, settings, and bytes of the embeddings, in total and per token.
        """
        embeddings, path = self.embeddings, None
        if isinstance(embeddings, EmbeddingStore):
            n_bytes, path = embeddings.n_bytes, str(embeddings.root)
        else:
            n_bytes = embeddings.values.nbytes
        per_token = round(n_bytes / max(1, embeddings.n_tokens), 2)
        return {
            "path": path,
            "documents": embeddings.n_docs,
            "tokens": embeddings.n_tokens,
            "dim": embeddings.dim,
            "fingerprint": embeddings.fingerprint,
            "settings": {"precision": self.precision},
            "bytes": {"embeddings": n_bytes, "total": n_bytes},
            "bytes_per_token": {"embeddings": per_token, "total": per_token},
        }

    def close(self) -> None:
        """Release embeddings and GPUs; later searches raise InputError."""
        self._embeddings = self._cuda = self._int8 = None

    def _search(
        self, queries: TokenEmbeddings, k: int, progress: Progress
    ) -> list[Results[ScoredDoc]]:
        best = TopK(queries.n_docs, k, self.doc_ids, self._id_ranks)
        progress.start("search", self.embeddings.n_docs, unit="documents")
        if queries.n_docs:
            with naming_documents(self.doc_ids):
                for n_docs, matches in self._chunks(queries, k, progress):
                    self._expect_numbers(matches)
                    best.add(matches)
                    progress.advance(n_docs)
            self._is_checked = True
        progress.finish()
        return best.results()

    def _expect_numbers(self, matches: list[Matches]) -> None:
        """Raise InputError for a score that is NaN or infinite: values changed after the check."""
        for number, (doc_index, scores) in enumerate(matches):
            finite = np.isfinite(scores)
            if not finite.all():
                doc_id = self.doc_ids[int(doc_index[np.argmin(finite)])]
                raise InputError(
                    f"the score of queries[{number}] with document {doc_id!r} is not a finite number: "
                    "the embeddings were changed since the index was made; make the index again"
                )

    def _chunks(
        self, queries: TokenEmbeddings, k: int, progress: Progress
    ) -> Iterator[tuple[int, list[Matches]]]:
        """The number of documents of each chunk, and matches of each query with the best k of them."""
        if self._cuda is not None:
            yield from self._cuda.search(queries, k)
            return
        scored = self._scores if self.precision == "float32" else self._with_int8(progress).search
        for first, scores in scored(queries):
            doc_index = np.arange(first, first + scores.shape[1])
            yield len(doc_index), [(doc_index, query_scores) for query_scores in scores]

    def _scores(self, queries: TokenEmbeddings) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """The first document of each chunk, and (n_queries, n_docs) scores of its documents."""
        tile = max(1, min(_QUERY_TOKENS_AT_ONCE, queries.n_tokens))
        n_tokens = max(1, self._for_tokens // (self._bytes_per_token + 12 * tile))
        n_docs = max(1, self._memory // 8 // (_BYTES_PER_SCORE * queries.n_docs + 16))
        for first, documents in self.embeddings.chunks(n_tokens, n_docs):
            if not self._is_checked:
                expect_finite(documents, first)
            yield (
                first,
                maxsim_scores(
                    np.asarray(queries.values),
                    queries.offsets,
                    documents.values,
                    documents.offsets,
                    device=self.device,
                    max_similarities=self._similarities(documents.n_tokens),
                ),
            )

    def _cuda_exact(self, devices: Sequence[torch.device], memory: int | None) -> CudaExact:
        from colmodern.index.exact.cuda import CudaExact

        is_int8 = self.precision == "int8"
        return CudaExact(self.embeddings, self._id_ranks, devices, memory, is_int8=is_int8)

    def _with_int8(self, progress: Progress | bool | None = None) -> Int8Search:
        from colmodern.index.exact.int8 import Int8Search
        from colmodern.kernels.cpu.jit import tell_if_compiling

        if self._int8 is None:
            tell_if_compiling(as_progress(progress).note)
            self._int8 = Int8Search(self.embeddings, self._memory)
        return self._int8

    def _similarities(self, n_tokens: int) -> int:
        """float32 similarities that fit beside a chunk of ``n_tokens``."""
        # beside them: the maxima of documents, which can be of a token each, and what torch and
        # the allocator keep for themselves
        room = (self._for_tokens - n_tokens * self._bytes_per_token) // 12
        if room < n_tokens:
            raise ResourceError(
                f"max_memory={self._memory} bytes is too small for a document of {n_tokens} tokens; "
                f"give at least {n_tokens * (self._bytes_per_token + 12) * 2 + 1}"
            )
        return room

    @property
    def _for_tokens(self) -> int:
        """Bytes for embeddings and similarities: half, since freed blocks leave holes behind."""
        return self._memory // 2

    @property
    def _bytes_per_token(self) -> int:
        return self._dim * (4 + 2) + 16  # float32 copy, stored form, bookkeeping


def _in_known_floats(
    embeddings: TokenEmbeddings | EmbeddingStore,
) -> TokenEmbeddings | EmbeddingStore:
    """The same embeddings, as float32 where torch does not know their dtype."""
    if isinstance(embeddings, EmbeddingStore) or embeddings.values.dtype in _KNOWN_FLOATS:
        return embeddings
    with np.errstate(over="ignore"):
        return replace(embeddings, values=np.asarray(embeddings.values, np.float32))


def _restored(
    kind: type[ExactIndex],
    source: TokenEmbeddings | StoreReference,
    doc_ids: list[str] | None,
    options: dict[str, Any],
    precision: Precision,
) -> ExactIndex:
    """The index that was pickled; doc_ids: None for those of the store."""
    embeddings = source if isinstance(source, TokenEmbeddings) else source.open()
    if doc_ids is None and isinstance(embeddings, EmbeddingStore):
        doc_ids = embeddings.doc_ids
    return kind(embeddings, doc_ids, precision=precision, **options)
