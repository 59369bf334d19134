"""Reranking: MaxSim over the candidates of a TREC run, or of another index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.config.index import PlaidIndexConfig, RerankIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.fidelity import LostDoc
from colmodern.files import sha256_of_file, sha256_of_json
from colmodern.index.exact.index import ExactIndex
from colmodern.index.staged import best_compressed
from colmodern.passages import documents_of
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.passages import doc_ids_of, rows_of_documents
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    IndexFolders,
    Searcher,
    SearchTexts,
    Seconds,
    Workload,
    Workspace,
    compared_with,
    elsewhere,
)
from colmodern.pipeline.searchers.exact import ExactSearcher, exact_seconds, seconds_of_pair
from colmodern.pipeline.searchers.first_stage import FirstStage, FirstStageFiles
from colmodern.pipeline.searchers.plaid import PlaidSearcher
from colmodern.pipeline.searchers.query_search import QueryFilters, QuerySearch
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import ScoredDoc

NO_CANDIDATE, ROUNDED = "not a candidate", "rounding"
_FIND = "find candidates"


class Candidates(NamedTuple):
    """What a rerank search reads: the first stage, and the index that scores, if one does."""

    first: FirstStageFiles
    scorer: Path | None


class RerankSearcher(Searcher[RerankIndexConfig]):
    """Finds candidates, or reads them, and scores each by MaxSim."""

    kernels = "triton or torch"
    has_first_stages = True
    loss_stages = (NO_CANDIDATE, ROUNDED)

    def __init__(
        self, config: RerankIndexConfig, encoder_device: str, texts: SearchTexts | None = None
    ) -> None:
        """Read a given run, if the queries are known, so that a wrong one is refused at once.

        Raises ConfigError where the run does not exist, DataError where it lacks most queries or
        is malformed, MissingExtraError for BM25 without its packages.
        """
        from colmodern.pipeline.searchers.registry import make_searcher  # imports this module

        super().__init__(config, encoder_device, texts)
        self._first = FirstStage(
            config.candidates,
            make_searcher,
            encoder_device,
            texts,
            depth=config.most_results,
            field="index.candidates",
        )
        self._scorer: PlaidSearcher | None = None
        if config.scorer == "plaid":
            own = PlaidIndexConfig(nbits=config.nbits, device=self.device)
            self._scorer = PlaidSearcher(own, encoder_device, texts)

    def restrict(self, filters: QueryFilters | None) -> None:
        """As the base class has it; candidates are only what a query may return."""
        super().restrict(filters)
        self._first.restrict(filters)

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of what candidates and scores depend on, beside the queries."""
        scorer = "" if self._scorer is None else self._scorer.preparation_key(documents)
        return sha256_of_json([*self._first.key(documents), scorer])

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> Candidates:
        """The candidates, and the index that scores them."""
        index = None
        if self._scorer is not None:
            index = self._scorer.prepare(documents, queries, workspace)
        return Candidates(self._first.prepare(documents, queries, workspace, _FIND), index)

    def cache_key(self, prepared: Candidates) -> list[object]:
        """The candidates by the digest of their run, and the index by its name."""
        settings = [sha256_of_file(prepared.first.run), self.config.most_results]
        scorer = [] if prepared.scorer is None else [prepared.scorer.name]
        return ["rerank", ["of known documents", *settings, *scorer, *elsewhere(self.device)]]

    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Candidates, k: int
    ) -> QuerySearch:
        """The candidates of each query, as positions of the stored documents."""
        run = self._first.results(prepared.first)
        most = self.config.most_results
        rows_of = rows_of_documents(documents)
        candidates = []
        for query_id in queries.doc_ids:
            # documents that the collection lacks take no place of the others
            known = [doc_id for doc_id, _ in run.get(query_id, []) if doc_id in rows_of]
            candidates.append([row for doc_id in known[:most] for row in rows_of[doc_id]])
        embeddings = queries.to_memory()
        if self._scorer is not None:
            assert prepared.scorer is not None, "a scorer has an index"
            return self._open_scorer(
                self._scorer, prepared.scorer, documents, embeddings, candidates, k
            )
        options = {
            "max_memory": self.config.exact_max_memory,
            "device": self.devices,
            "device_max_memory": self.config.device_max_memory,
        }
        return CandidateSearch(
            candidates,
            k,
            embeddings,
            lambda positions, query, k: self._exact(documents, positions, query, k, options),
        )

    def explain_losses(
        self,
        lost: Sequence[LostDoc],
        queries: EmbeddingStore,
        prepared: Candidates,
        k: int,
        progress: Progress,
    ) -> list[Loss]:
        """A document is lost where it is not a candidate; among equals, rounding may move one."""
        is_run = self._first.index is None
        source = "the run" if is_run else self._first.name.replace("bm25", "BM25")
        most = self.config.most_results
        among = f"the first {most:,} of {source}" if most else f"the candidates of {source}"
        losses = []
        for document in lost:
            if document.rank is None:
                losses.append(Loss(document, NO_CANDIDATE, f"it is not among {among}"))
            else:
                reason = f"result {document.rank}, by scores that differ in their last digits"
                if self._scorer is not None:
                    reason = f"result {document.rank}, by the scores of compressed tokens"
                losses.append(Loss(document, ROUNDED, reason))
        return losses

    def first_stages(self, prepared: Candidates) -> Mapping[str, Mapping[str, list[ScoredDoc]]]:
        """The candidates."""
        run, most = self._first.results(prepared.first), self.config.most_results
        return {self._first.name: {query_id: docs[:most] for query_id, docs in run.items()}}

    def first_stage_folders(self, prepared: Candidates) -> list[IndexFolders]:
        """The index that found the candidates, and the one that scored them where there is one."""
        scorer = [] if prepared.scorer is None else [prepared.scorer]
        return [prepared.first.index_folders, *scorer]

    def inputs(self) -> dict[str, str]:
        """Digest of a given run."""
        return {"candidates": self._first.digest} if self._first.digest else {}

    def facts(self, documents: EmbeddingStore, prepared: Candidates) -> dict[str, object]:
        """How many candidates there are, and how many of them the collection lacks."""
        known, most = set(doc_ids_of(documents)), self.config.most_results
        results = self._first.searched(self._first.results(prepared.first))
        run = [docs[:most] for docs in results.values()]
        counts = [len(docs) for docs in run]
        facts: dict[str, Any] = {
            "candidates": {
                "source": self._first.name,
                "queries": len(counts),
                "per_query": round(sum(counts) / max(1, len(counts)), 1),
                "unknown_documents": sum(doc_id not in known for docs in run for doc_id, _ in docs),
            }
        }
        if self._scorer is not None:
            facts |= self._scorer.facts(documents, prepared.scorer)
        return facts

    def memory(self, work: Workload) -> dict[str, float]:
        """The first stage, the candidates of one query, and exact search beside it."""
        stages = self._first.memory(work, _FIND)
        if self._scorer is not None:
            stages["build index"] = self._scorer.memory(work)["build index"]
        tokens = self._first.count(work.sample).most * _mean(work.sample.token_counts)
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
        """Score a few documents, and try the first stage."""
        pair = seconds_of_pair(documents, queries, self.devices)
        truth = ExactSearcher(compared_with(self.config), encoder.device)
        exact_pair = seconds_of_pair(documents, queries, truth.devices)
        find = self._first.time(documents, queries, encoder, progress, _FIND)
        scorer = None
        if self._scorer is not None:
            scorer = self._scorer.time(documents, queries, encoder, k, progress)

        def seconds(sample: Sample) -> Mapping[str, Total]:
            stages = dict(find(sample))
            if scorer is not None:
                stages["build index"] = scorer(sample)["build index"]
            tokens = self._first.count(sample).mean * _mean(sample.token_counts)
            scored = tokens * sample.n_query_tokens * pair
            stages["search"] = Total(scored, scored, scored)
            if self.config.compare_with_exact:
                stages |= exact_seconds("exact search", exact_pair, sample)
            return stages

        return seconds

    def _exact(
        self,
        documents: EmbeddingStore,
        positions: Sequence[int],
        query: npt.NDArray[np.floating],
        k: int,
        options: Mapping[str, Any],
    ) -> list[ScoredDoc]:
        """The best of some documents by their stored embeddings."""
        ids = [documents.doc_ids[row] for row in positions]
        index = self.ranked(ExactIndex(documents.select(positions), ids, **options))
        results: list[ScoredDoc] = index.search(query, k)
        return results

    def _open_scorer(
        self,
        scorer: PlaidSearcher,
        folder: Path,
        documents: EmbeddingStore,
        queries: TokenEmbeddings,
        candidates: Sequence[Sequence[int]],
        k: int,
    ) -> CandidateSearch:
        index, ids = self.ranked(scorer.load(folder)), documents.doc_ids

        def compressed(
            positions: Sequence[int], query: npt.NDArray[np.floating], k: int
        ) -> list[ScoredDoc]:
            names = [ids[row] for row in positions]
            own = documents_of(names) if documents.has_passages else names
            return best_compressed(index, own, query, k)

        search = CandidateSearch(candidates, k, queries, compressed)
        if any(candidates):  # compiles
            search.search_one(next(i for i, positions in enumerate(candidates) if positions))
        return search


@dataclass(frozen=True)
class CandidateSearch:
    """Scores the candidates of each query.

    Attributes:
        candidates: Positions of each query's stored documents.
        score: The best ``k`` of some positions for a query.
    """

    candidates: Sequence[Sequence[int]]
    k: int
    queries: TokenEmbeddings
    score: Callable[[Sequence[int], npt.NDArray[np.floating], int], list[ScoredDoc]] = field(
        repr=False
    )

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
        positions = self.candidates[position]
        return self.score(positions, self.queries[position], self.k) if positions else []

    def with_k(self, k: int) -> CandidateSearch:
        """The same search for another number of results."""
        return replace(self, k=k)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(sum(numbers)) / max(1, len(numbers))
