"""Several searches fused into one ranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from colmodern.config.index import HybridIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.measures import parse_measure
from colmodern.evaluation.tuning import TunedWeights, tune_weights
from colmodern.files import sha256_of_file, sha256_of_json
from colmodern.fusion import Joiner
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    IndexFolders,
    Searcher,
    SearchTexts,
    Seconds,
    Workload,
    Workspace,
)
from colmodern.pipeline.searchers.first_stage import FirstStage, FirstStageFiles, collection_ids
from colmodern.pipeline.searchers.query_search import QueryFilters, QuerySearch
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import ScoredDoc

_BYTES_PER_RESULT = 300  # a (doc_id, score) of a search while rankings are joined


class HybridFiles(NamedTuple):
    """What a hybrid search reads: the searches in their order, and their weights."""

    files: tuple[FirstStageFiles, ...]
    weights: tuple[float, ...] | None
    tuned: TunedWeights | None


class HybridSearcher(Searcher[HybridIndexConfig]):
    """Searches, or reads, each search and joins their first documents."""

    has_first_stages = True

    def __init__(
        self, config: HybridIndexConfig, encoder_device: str, texts: SearchTexts | None = None
    ) -> None:
        """Raises ConfigError, DataError or MissingExtraError for a search that cannot be searched."""
        super().__init__(config, encoder_device, texts)
        self.passages = None  # the searches rank documents by them; what is fused are documents
        self._encoder_device = encoder_device
        if config.tune_split is not None:
            parse_measure(config.tune_measure)
        self._searches = self._searches_of(texts)
        self.names = _different([search.name for search in self._searches])
        self.reads_embeddings = any(search.reads_embeddings for search in self._searches)

    @property
    def most_results(self) -> int:
        """The first documents of all searches, where none is found twice."""
        return self.config.depth * len(self.config.of)

    def restrict(self, filters: QueryFilters | None) -> None:
        """As the base class has it; each search finds only what it may return."""
        super().restrict(filters)
        for search in self._searches:
            search.restrict(filters)

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of what the searches and their weights depend on, beside the queries."""
        settings = self.config.model_dump(mode="json")
        return sha256_of_json([settings, *(search.key(documents) for search in self._searches)])

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> HybridFiles:
        """The runs of all searches; of those of the split that tunes, too."""
        split = self.config.tune_split
        tuned = None if split is None else self._tune(split, documents, workspace)
        weights = self.config.weights if tuned is None else tuned.weights
        files = self._prepare(self._searches, documents, queries, workspace, "search")
        return HybridFiles(files, weights, tuned)

    def _tune(self, split: str, documents: EmbeddingStore, workspace: Workspace) -> TunedWeights:
        """The weights that are best for the queries of a split."""
        judged = workspace.judged_queries(split)
        searches = self._searches_of(judged.texts)
        for search in searches:
            search.restrict(judged.filters)
        tuning = self._prepare(
            searches, documents, judged.embeddings, workspace, f"search {split} with"
        )
        runs = [search.results(files) for search, files in zip(searches, tuning, strict=True)]
        tuned = tune_weights(
            runs,
            judged.qrels,
            measure=self.config.tune_measure,
            fusion=self.config.fusion,
            rrf_k=self.config.rrf_k,
            depth=self.config.depth,
        )
        shown = ", ".join(f"{n} {w:g}" for n, w in zip(self.names, tuned.weights, strict=True))
        workspace.progress.note(
            f"weights tuned on {tuned.n_queries:,} queries of {split}: {shown}; "
            f"{self.config.tune_measure} {tuned.value:.4f}, with equal weights {tuned.equal:.4f}"
        )
        return tuned

    def cache_key(self, prepared: HybridFiles) -> list[object]:
        """The runs by their digests, and how they are joined."""
        config = self.config
        runs = [sha256_of_file(files.run) for files in prepared.files]
        weights = None if prepared.weights is None else list(prepared.weights)
        return ["hybrid", [runs, config.fusion, config.rrf_k, config.depth, weights]]

    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: HybridFiles, k: int
    ) -> QuerySearch:
        """The rankings of each query, without documents that the collection lacks."""
        known = set(collection_ids(documents, self._given_texts))
        runs = [self._first(number, prepared) for number in range(len(self._searches))]
        rankings = [
            [[result for result in run.get(query_id, []) if result.doc_id in known] for run in runs]
            for query_id in queries.doc_ids
        ]
        config = self.config
        joiner = Joiner(
            len(runs), fusion=config.fusion, weights=prepared.weights, rrf_k=config.rrf_k
        )
        return FusedSearch(rankings, joiner, k)

    def first_stages(self, prepared: HybridFiles) -> Mapping[str, Mapping[str, list[ScoredDoc]]]:
        """The runs of all searches."""
        return {name: self._first(number, prepared) for number, name in enumerate(self.names)}

    def first_stage_folders(self, prepared: HybridFiles) -> list[IndexFolders]:
        """The folders of the searches' indexes, in their order; None for a run, or exact search."""
        return [files.index_folders for files in prepared.files]

    def inputs(self) -> dict[str, str]:
        """Digests of given runs."""
        named = zip(self.names, self._searches, strict=True)
        return {f"of.{name}": search.digest for name, search in named if search.digest}

    def facts(self, documents: EmbeddingStore, prepared: HybridFiles) -> dict[str, Any]:
        """The searches, and their weights."""
        config, weights = self.config, prepared.weights or (1.0,) * len(self.names)
        fusion: dict[str, object] = {
            "searches": list(self.names),
            "fusion": config.fusion,
            "depth": config.depth,
        }
        if config.fusion != "interleave":
            fusion["weights"] = list(weights)
        if prepared.tuned is not None:
            tuned = prepared.tuned
            fusion["tuned"] = {
                "split": config.tune_split,
                "queries": tuned.n_queries,
                "measure": config.tune_measure,
                "value": round(tuned.value, 6),
                "with_equal_weights": round(tuned.equal, 6),
            }
        return {"fusion": fusion}

    def memory(self, work: Workload) -> dict[str, float]:
        """The searches, and their rankings."""
        stages: dict[str, float] = {}
        for name, search in zip(self.names, self._searches, strict=True):
            stages |= search.memory(work, f"search {name}")
        results = work.sample.n_queries * self.config.depth * len(self._searches)
        return {**stages, "search": results * _BYTES_PER_RESULT + work.result_bytes}

    def ceilings(self, work: Workload) -> dict[str, float]:
        """None: those of the searches are theirs."""
        return {}

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """Try each search; joining takes next to nothing."""
        tried = [
            search.time(documents, queries, encoder, progress, f"search {name}")
            for name, search in zip(self.names, self._searches, strict=True)
        ]

        def seconds(sample: Sample) -> Mapping[str, Total]:
            stages: dict[str, Total] = {}
            for own in tried:
                stages |= own(sample)
            joined = sample.n_queries * self.config.depth * len(tried) * 1e-6
            return {**stages, "search": Total(joined, joined, joined)}

        return seconds

    def _searches_of(self, texts: SearchTexts | None) -> list[FirstStage]:
        from colmodern.pipeline.searchers.registry import make_searcher  # imports this module

        return [
            FirstStage(
                search,
                make_searcher,
                self._encoder_device,
                texts,
                depth=self.config.depth,
                field=f"index.of.{number}",
            )
            for number, search in enumerate(self.config.of)
        ]

    def _prepare(
        self,
        searches: Sequence[FirstStage],
        documents: EmbeddingStore,
        queries: EmbeddingStore,
        workspace: Workspace,
        stage: str,
    ) -> tuple[FirstStageFiles, ...]:
        return tuple(
            search.prepare(documents, queries, workspace, f"{stage} {name}")
            for name, search in zip(self.names, searches, strict=True)
        )

    def _first(self, number: int, prepared: HybridFiles) -> dict[str, list[ScoredDoc]]:
        """The first documents of each query in one search."""
        search = self._searches[number]
        run = search.searched(search.results(prepared.files[number]))
        return {query_id: results[: self.config.depth] for query_id, results in run.items()}


@dataclass(frozen=True)
class FusedSearch:
    """Joins the rankings of each query.

    Attributes:
        rankings: Of each query, those of all searches.
    """

    rankings: Sequence[Sequence[Sequence[ScoredDoc]]]
    joiner: Joiner
    k: int

    def search_all(self, progress: Progress) -> list[list[ScoredDoc]]:
        """Results of all queries, in their order."""
        return [self.search_one(position) for position in range(len(self.rankings))]

    def search_one(self, position: int) -> list[ScoredDoc]:
        """Results of the query at a position."""
        return self.joiner(self.rankings[position], self.k)

    def with_k(self, k: int) -> FusedSearch:
        """The same search for another number of results."""
        return replace(self, k=k)


def _different(names: Sequence[str]) -> list[str]:
    """The names, numbered where several are the same."""
    counts, seen = Counter(names), Counter[str]()
    different = []
    for name in names:
        seen[name] += 1
        different.append(f"{name} {seen[name]}" if counts[name] > 1 else name)
    return different
