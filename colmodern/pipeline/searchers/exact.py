"""Exact search: every document is scored with its uncompressed embeddings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from colmodern.config.index import ExactIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.index.exact.index import ExactIndex
from colmodern.kernels.device import Devices
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    Searcher,
    Seconds,
    Workload,
    elsewhere,
)
from colmodern.pipeline.searchers.query_search import IndexSearch, QuerySearch
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Precision


class ExactSearcher(Searcher[ExactIndexConfig]):
    """Scores every document with every query; nothing has to be prepared."""

    is_exact = True
    kernels = "triton or torch"

    def cache_key(self, prepared: Path | None) -> list[object]:
        """The precision only where it is not the usual one."""
        precision = self.config.precision
        return ["exact", *elsewhere(self.device), *([precision] if precision != "float32" else [])]

    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Path | None, k: int
    ) -> QuerySearch:
        """An ExactIndex over the documents."""
        index = ExactIndex(
            documents,
            documents.doc_ids,
            max_memory=self.config.exact_max_memory,
            device=self.devices,
            device_max_memory=self.config.device_max_memory,
            precision=self.config.precision,
        )
        search = IndexSearch(self.ranked(index), queries.to_memory(), k)
        return search.with_filters(self.filters, queries.doc_ids)

    def memory(self, work: Workload) -> dict[str, float]:
        """Embeddings and similarities of a piece of the corpus, and the results."""
        return {"search": work.exact_bytes(self.config.exact_max_memory)}

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """Search a few documents."""
        pair = seconds_of_pair(documents, queries, self.devices, self.config.precision)
        return lambda sample: exact_seconds("search", pair, sample)


def seconds_of_pair(
    documents: TokenEmbeddings,
    queries: TokenEmbeddings,
    device: Devices,
    precision: Precision = "float32",
) -> float:
    """Seconds of exact search for each pair of a query token and a document token."""
    index = ExactIndex(documents, device=device, precision=precision)
    index.search_batch(queries, 1)
    start = time.perf_counter()
    index.search_batch(queries, 1)
    return (time.perf_counter() - start) / (queries.n_tokens * documents.n_tokens)


def exact_seconds(stage: str, pair: float, sample: Sample) -> Mapping[str, Total]:
    """Seconds of exact search over the whole corpus; pair: as of ``seconds_of_pair``."""
    return {stage: Total(*(n * sample.n_query_tokens * pair for n in sample.tokens))}
