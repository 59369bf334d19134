"""Reranking: exact MaxSim over the candidates of a TREC run, or of BM25."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from colmodern.config.index import RerankIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.fidelity import LostDoc
from colmodern.evaluation.trec import read_run
from colmodern.files import sha256_of_file, sha256_of_json
from colmodern.index.exact.index import ExactIndex
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    QuerySearch,
    Searcher,
    SearchResults,
    SearchTexts,
    Seconds,
    Workload,
    Workspace,
    compared_with,
    elsewhere,
)
from colmodern.pipeline.searchers.bm25 import load_bm25s, search_bm25
from colmodern.pipeline.searchers.exact import ExactSearcher, exact_seconds, seconds_of_pair
from colmodern.pipeline.searchers.search_cache import RUN, search_once
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import ScoredDoc

_log = logging.getLogger(__name__)

BM25 = "bm25"
NO_CANDIDATE, ROUNDED = "not a candidate", "rounding"
_FIELD = "index.candidates"
_FIND = "find candidates"
_BYTES_PER_LETTER = 8  # peak of BM25's indexing beside the process, measured on the built-in set
_TRIED_DOCS, _TRIED_QUERIES = 1000, 64


class _CandidateCount(NamedTuple):
    """Candidates of a query: their mean and largest number."""

    mean: float
    most: int


class RerankSearcher(Searcher[RerankIndexConfig]):
    """Finds candidates, or reads them, and scores each with its uncompressed embeddings."""

    kernels = "triton or torch"
    loss_stages = (NO_CANDIDATE, ROUNDED)

    def __init__(
        self, config: RerankIndexConfig, encoder_device: str, texts: SearchTexts | None = None
    ) -> None:
        """Read a given run, if the queries are known, so that a wrong one is refused at once.

        Raises ConfigError where the run does not exist, DataError where it lacks most queries or
        is malformed, MissingExtraError for BM25 without its package.
        """
        super().__init__(config, encoder_device, texts)
        if self._is_bm25:
            load_bm25s()
        elif not os.path.isfile(config.candidates):
            fault = "not a file" if os.path.exists(config.candidates) else "there is no such file"
            raise ConfigError(f"{_FIELD}={config.candidates}: {fault}; give a TREC run, or {BM25}")
        elif texts is not None:
            _expect_queries(self._given_run, texts.queries, config.candidates)

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of what the candidates depend on, beside the queries."""
        return sha256_of_json(self._bm25_key()) if self._is_bm25 else ""

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> Path:
        """A TREC run of the candidates: the given one, or that of BM25."""
        if not self._is_bm25:
            return Path(self.config.candidates)
        texts, k = self._texts, self.config.most_results or 0
        wanted = {query_id: texts.queries[query_id] for query_id in queries.doc_ids}
        key = [*self._bm25_key(), sha256_of_json(list(wanted.items()))]

        def find() -> SearchResults:
            workspace.progress.note(f"{_FIND} with BM25")
            return search_bm25(texts.documents(), wanted, k)

        folder, _ = search_once(workspace, _FIND, key, BM25, queries.doc_ids, find)
        return folder / RUN

    def cache_key(self, prepared: Path | None) -> list[Any]:
        """The candidates by the digest of their run."""
        assert prepared is not None, "prepare() comes before"
        settings = [sha256_of_file(prepared), self.config.most_results]
        return ["rerank", ["of known documents", *settings, *elsewhere(self.device)]]

    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Path | None, k: int
    ) -> QuerySearch:
        """The candidates of each query, as positions of the stored documents."""
        assert prepared is not None, "prepare() comes before"
        run = self._run_of(prepared)
        most = self.config.most_results
        positions = {doc_id: position for position, doc_id in enumerate(documents.doc_ids)}
        candidates = [
            # documents that the collection lacks take no place of the others
            [positions[doc_id] for doc_id, _ in run.get(query_id, []) if doc_id in positions][:most]
            for query_id in queries.doc_ids
        ]
        if not any(candidates) and any(run.values()):
            raise DataError(
                f"{_FIELD}={self.config.candidates}: none of its documents is in the collection; "
                "give a run of this collection"
            )
        options = {
            "max_memory": self.config.exact_max_memory,
            "device": self.devices,
            "device_max_memory": self.config.device_max_memory,
        }
        return CandidateSearch(documents, queries.to_memory(), candidates, k, options)

    def explain_losses(
        self,
        lost: Sequence[LostDoc],
        queries: EmbeddingStore,
        prepared: Path | None,
        k: int,
        progress: Progress,
    ) -> list[Loss]:
        """A document is lost where it is not a candidate; among equals, rounding may move one."""
        source = "BM25" if self._is_bm25 else "the run"
        most = self.config.most_results
        among = f"the first {most:,} of {source}" if most else f"the candidates of {source}"
        losses = []
        for document in lost:
            if document.rank is None:
                losses.append(Loss(document, NO_CANDIDATE, f"it is not among {among}"))
            else:
                reason = f"result {document.rank}, by scores that differ in their last digits"
                losses.append(Loss(document, ROUNDED, reason))
        return losses

    def inputs(self) -> dict[str, str]:
        """Digest of a given run."""
        return {} if self._is_bm25 else {"candidates": sha256_of_file(Path(self.config.candidates))}

    def facts(self, documents: EmbeddingStore, prepared: Path | None) -> dict[str, Any]:
        """How many candidates there are, and how many of them the collection lacks."""
        assert prepared is not None, "prepare() comes before"
        known, most = set(documents.doc_ids), self.config.most_results
        run = [results[:most] for results in self._searched(self._run_of(prepared))]
        counts = [len(results) for results in run]
        return {
            "candidates": {
                "source": BM25 if self._is_bm25 else Path(self.config.candidates).name,
                "queries": len(counts),
                "per_query": round(sum(counts) / max(1, len(counts)), 1),
                "unknown_documents": sum(doc_id not in known for r in run for doc_id, _ in r),
            }
        }

    def memory(self, work: Workload) -> dict[str, float]:
        """BM25 over the texts, the candidates of one query, and exact search beside it."""
        letters = _mean(map(len, work.sample.texts)) * work.sample.n_docs
        stages = {_FIND: _BYTES_PER_LETTER * letters} if self._is_bm25 else {}
        tokens = self._n_candidates(work.sample).most * _mean(work.sample.token_counts)
        stages["search"] = (
            tokens * (2 * work.token_bytes + work.item) + work.result_bytes + work.query_bytes
        )
        if self.config.compare_with_exact:
            stages["exact search"] = work.exact_bytes(self.config.exact_max_memory)
        return stages

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """Score a few documents, and search a few texts with BM25."""
        pair = seconds_of_pair(documents, queries, self.devices)
        truth = ExactSearcher(compared_with(self.config), encoder.device)
        exact_pair = seconds_of_pair(documents, queries, truth.devices)
        find = self._time_bm25() if self._is_bm25 else None

        def seconds(sample: Sample) -> Mapping[str, Total]:
            stages = {} if find is None else {_FIND: Total(*(find(sample),) * 3)}
            tokens = self._n_candidates(sample).mean * _mean(sample.token_counts)
            scored = tokens * sample.n_query_tokens * pair
            stages["search"] = Total(scored, scored, scored)
            if self.config.compare_with_exact:
                stages |= exact_seconds("exact search", exact_pair, sample)
            return stages

        return seconds

    @property
    def _is_bm25(self) -> bool:
        return self.config.candidates == BM25

    @property
    def _texts(self) -> SearchTexts:
        assert self.texts is not None, "BM25 reads texts"
        return self.texts

    @cached_property
    def _given_run(self) -> dict[str, list[ScoredDoc]]:
        try:
            return read_run(Path(self.config.candidates))
        except DataError as error:
            raise DataError(f"{_FIELD}: {error}") from error

    def _run_of(self, prepared: Path) -> dict[str, list[ScoredDoc]]:
        return read_run(prepared, may_be_empty=True) if self._is_bm25 else self._given_run

    def _searched(self, run: Mapping[str, list[ScoredDoc]]) -> list[list[ScoredDoc]]:
        """Results of the evaluation's queries, as far as the run has any."""
        if self.texts is None:
            return list(run.values())
        return [run[query_id] for query_id in self.texts.queries if query_id in run]

    def _n_candidates(self, sample: Sample) -> _CandidateCount:
        """Candidates of a query: of a given run as they are, of BM25 as many as there may be."""
        most = min(self.config.most_results or sample.n_docs, sample.n_docs)
        if self._is_bm25:
            return _CandidateCount(most, most)
        counts = [min(most, len(results)) for results in self._searched(self._given_run)]
        return _CandidateCount(_mean(counts), max(counts, default=0))

    def _bm25_key(self) -> list[Any]:
        """What BM25's results depend on, beside the queries."""
        reading = self._texts.reading
        return [
            BM25,
            load_bm25s().__version__,
            self.config.most_results or 0,
            self._texts.corpus.fingerprint,
            reading.title_separator if reading.join_titles else None,
        ]

    def _time_bm25(self) -> Callable[[Sample], float]:
        """Seconds of BM25 over a whole corpus, from some of its texts."""
        documents = list(islice(self._texts.documents(), _TRIED_DOCS))
        queries = dict(islice(self._texts.queries.items(), _TRIED_QUERIES))
        taken = search_bm25(documents, queries, self.config.most_results or 0).seconds
        return lambda sample: taken * sample.n_docs / max(1, len(documents))


@dataclass(frozen=True)
class CandidateSearch:
    """Scores the candidates of each query.

    Attributes:
        candidates: Positions of each query's stored documents.
        options: Arguments of ``ExactIndex``.
    """

    documents: EmbeddingStore
    queries: TokenEmbeddings
    candidates: Sequence[Sequence[int]]
    k: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def search_all(self, progress: Progress) -> list[list[ScoredDoc]]:
        """Results of all queries, in their order."""
        progress.start("search", len(self.candidates), unit="queries")
        results = []
        for position in range(len(self.candidates)):
            results.append(self.search_one(position))
            progress.advance(1)
        progress.finish()
        return results

    def search_one(self, position: int) -> list[ScoredDoc]:
        """Results of the query at a position."""
        rows = self.candidates[position]
        if not rows:
            return []
        ids = [self.documents.doc_ids[row] for row in rows]
        index = ExactIndex(self.documents.select(rows), ids, **self.options)
        return index.search(self.queries[position], self.k)


def _expect_queries(run: Mapping[str, object], queries: Mapping[str, str], candidates: str) -> None:
    """Raise DataError where a run has no candidates of most queries; warn where it lacks some.

    The TREC format has no line for a query whose first stage has no results.
    """
    lacking = [query_id for query_id in queries if query_id not in run]
    if not lacking:
        return
    message = (
        f"{_FIELD}={candidates}: it has no candidates for query {lacking[0]!r} "
        f"({len(lacking)} such of {len(queries)} queries)"
    )
    if 2 * len(lacking) > len(queries):
        raise DataError(f"{message}; give a run of these queries, or {BM25}")
    _log.warning("%s; such queries get no results", message)


def _mean(values: Any) -> float:
    numbers = list(values)
    return float(sum(numbers)) / max(1, len(numbers))
