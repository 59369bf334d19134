"""Exact MaxSim over every document: the truth that faster indexes are measured against."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch

from colmodern.arguments import expect_choice, renamed_keywords
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.base import closed_error
from colmodern.index.exact.filters import filter_mask, groups_by
from colmodern.index.exact.located import locator
from colmodern.index.exact.scores import ChunkScores, DeviceSearch, in_known_floats
from colmodern.index.fields.conditions import words_of
from colmodern.index.fields.inputs import Fields, checked_fields
from colmodern.index.filters import Filter, Mask
from colmodern.index.finite import expect_finite, naming_documents
from colmodern.index.inputs import expect_embeddings, query_batch, query_values
from colmodern.index.pages import checked_page, ranked_pages, with_groups
from colmodern.index.ranking import Matches, TopK, id_ranks
from colmodern.index.spans import SpanSettings, span_settings, with_spans
from colmodern.index.stores import StoreReference, is_mapped, reference_to
from colmodern.kernels.device import Devices, resolve_device
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import checked_doc_ids
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.spans import extent
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Precision, Results, ScoredDoc
from colmodern.units import parse_bytes

_log = logging.getLogger(__name__)


class ExactIndex:
    """An exact index: scores every document with every query, in bounded memory.

    Scores are MaxSim in float32. Ties go to the smaller doc_id. A pickle holds the settings and the
    embeddings, or the path of their store.

    Args:
        embeddings: TokenEmbeddings in memory, or an EmbeddingStore that is mapped from disk.
        doc_ids: (n_docs,) unique strings; default "0", "1", ...
        fields: Values that searches can filter by, as PlaidIndex.build takes them.
        max_memory: Bytes, or text as "512M" or "2G", for copies and similarities at one time.
        device: "auto", "cpu", "cuda", "cuda:N", or GPUs that share the documents as
            "cuda:0,cuda:1". A GPU without Triton is used through torch, which is slower; several
            need Triton.
        device_max_memory: Bytes, or text as "20G", that may stay on a GPU; default most of what is
            free.
        precision: "float32" computes with the values as they are; "int8" with each token rounded
            to 255 steps of its largest value, which changes a score by about a thousandth a query
            token and is two to five times as fast on the CPU. On a GPU it saves memory only.

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
        fields: Fields | None = None,
        max_memory: int | str = "1G",
        device: str | Devices = "cpu",
        device_max_memory: int | str | None = None,
        precision: Precision = "float32",
    ) -> None:
        embeddings = in_known_floats(expect_embeddings("embeddings", embeddings))
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
        self._id_ranks = cache(partial(id_ranks, self.doc_ids))  # takes longer than many a search
        self.fields = checked_fields(fields, self.doc_ids)
        if isinstance(self.embeddings, TokenEmbeddings) and not is_mapped(self.embeddings):
            with naming_documents(self.doc_ids):
                expect_finite(self.embeddings)
        self._cuda = self._cuda_exact(devices.gpus, device_bytes) if devices.gpus else None
        # a filter on GPUs is applied by torch, in float32
        self._scores: ChunkScores | None = ChunkScores(
            embeddings,
            self._memory,
            self.device.partition(",")[0],
            "float32" if devices.gpus else precision,
        )

    @classmethod
    @renamed_keywords(memory_budget="max_memory", device_memory="device_max_memory")
    def load(
        cls,
        shard_folder: Path | str,
        *,
        fields: Fields | None = None,
        max_memory: int | str = "1G",
        device: str | Devices = "cpu",
        device_max_memory: int | str | None = None,
        precision: Precision = "float32",
    ) -> ExactIndex:
        """Open a folder of encoded shards without reading it.

        Args:
            shard_folder: The folder of an EmbeddingStore; its ids are those of the index.
            fields: As in the class, of the store's documents.
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
            fields=fields,
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

    def __reduce__(self) -> tuple[object, ...]:
        """By settings, with the embeddings or the path of their store; nothing read is copied."""
        source: TokenEmbeddings | StoreReference
        doc_ids: list[str] | None = self.doc_ids
        if isinstance(self.embeddings, EmbeddingStore):
            source = reference_to(self.embeddings)
            doc_ids = None if self.embeddings.doc_ids == doc_ids else doc_ids
        else:
            source = self.embeddings
        options = {**self._options, "fields": self.fields, "precision": self.precision}
        return _restored, (type(self), source, doc_ids, options)

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
        return isinstance(doc_id, str) and doc_id in self._numbers

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {doc_id: number for number, doc_id in enumerate(self.doc_ids)}

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        group_by: str | None = None,
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents for one query, best first.

        Args:
            query: (n_query_tokens, dim) array, tensor or nested lists of floats.
            k: Number of documents, at most. Ties go to the smaller doc_id.
            filter: As in PlaidIndex.search; on GPUs, documents are scored by torch then.
            spans: True or SpanSettings for the passages that matched, in float32.
            offset: Results to leave out before the first, for the next page.
            group_by: As in PlaidIndex.search.

        Returns:
            The best documents with their scores, as Hit where passages were asked for, as
            GroupedHit with ``group_by``.

        Raises:
            InputError: As from ``search_batch``.
        """
        values = query_values(query, self.dim)
        queries = TokenEmbeddings(values, np.array([0, len(values)]))
        results = self.search_batch(
            queries, k, filter=filter, spans=spans, offset=offset, group_by=group_by
        )
        return Results(results[0])

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        filter: Filter | None = None,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        group_by: str | None = None,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Embeddings as an encoder returns them.
            k: Number of documents of each query, at most.
            filter: As in ``search``, the same for all queries.
            spans: As in ``search``.
            offset: As in ``search``.
            group_by: As in ``search``.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: k is below 1, the queries' dim is not the index's, or a query or a document
                has values that are not finite; or there are no spans.
        """
        queries, settings = query_batch(queries, self.dim), span_settings(spans)
        page = checked_page(k, offset, group_by)
        hearing = as_progress(progress)
        allowed = None
        if filter is not None:
            allowed = filter_mask(filter, self.doc_ids, self._numbers, self.fields)
        groups_of = groups_by(group_by, lambda doc_id: self._numbers[doc_id], self.fields)

        def search(positions: Sequence[int], k: int) -> list[Results[ScoredDoc]]:
            is_whole = len(positions) == len(queries)
            asked = queries if is_whole else queries.select(positions)
            return self._search(asked, k, allowed, hearing)

        n_open = self.n_docs if allowed is None else int(np.count_nonzero(allowed))
        results = ranked_pages(search, len(queries), n_open, page, groups_of)
        if settings is not None:
            wanted = {result.doc_id for ranking in results for result in ranking}
            locate = locator(self.embeddings, self.doc_ids, wanted)
            pairs = zip(results, queries, strict=True)
            results = [with_spans(ranking, query, locate, settings) for ranking, query in pairs]
        if group_by is not None:
            results = [with_groups(ranking, groups_of) for ranking in results]
        return BatchResults(results)

    def characters(self, doc_id: str) -> tuple[int, int] | None:
        """The characters of its text from a document's first token to its last.

        Args:
            doc_id: A document, which may be a passage of a longer text.

        Returns:
            (start, end) in code points; None where the embeddings have none.

        Raises:
            InputError: There is no such document.
        """
        if doc_id not in self:
            raise InputError(f"doc_id={shown(doc_id)} is not in the index; check the id")
        spans = self.embeddings.select([self._numbers[doc_id]]).spans
        return None if spans is None else extent(spans[0])

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
            "fields": {name: words_of(kinds) for name, kinds in self.fields.schema.items()},
            "settings": {"precision": self.precision},
            "bytes": {"embeddings": n_bytes, "total": n_bytes},
            "bytes_per_token": {"embeddings": per_token, "total": per_token},
        }

    def close(self) -> None:
        """Release embeddings and GPUs; later searches raise InputError."""
        self._embeddings = self._cuda = self._scores = None

    def _search(
        self, queries: TokenEmbeddings, k: int, allowed: Mask | None, progress: Progress
    ) -> list[Results[ScoredDoc]]:
        best = TopK(queries.n_docs, k, self.doc_ids, self._id_ranks)
        progress.start("search", self.embeddings.n_docs, unit="documents")
        with naming_documents(self.doc_ids):
            for n_docs, matches in self._chunks(queries, k, allowed, progress):
                self._expect_numbers(matches)
                best.add(matches)
                progress.advance(n_docs)
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
        self, queries: TokenEmbeddings, k: int, allowed: Mask | None, progress: Progress
    ) -> Iterator[tuple[int, list[Matches]]]:
        """The number of documents of each chunk, and matches of each query with the best k of them."""
        if self._cuda is not None and allowed is None:
            yield from self._cuda.search(queries, k)
        elif self._scores is not None:
            yield from self._scores.search(queries, allowed, progress)

    def _cuda_exact(self, devices: Sequence[torch.device], memory: int | None) -> DeviceSearch:
        from colmodern.index.exact.cuda import CudaExact

        is_int8 = self.precision == "int8"
        return CudaExact(self.embeddings, self._id_ranks, devices, memory, is_int8=is_int8)


def _restored(
    kind: type[ExactIndex],
    source: TokenEmbeddings | StoreReference,
    doc_ids: list[str] | None,
    options: dict[str, Any],
) -> ExactIndex:
    """The index that was pickled; doc_ids: None for those of the store."""
    embeddings = source if isinstance(source, TokenEmbeddings) else source.open()
    if doc_ids is None and isinstance(embeddings, EmbeddingStore):
        doc_ids = embeddings.doc_ids
    return kind(embeddings, doc_ids, **options)
