"""The stages of an evaluation, each reused when an earlier call finished it.

A finished stage lives in OUTPUT/.cache under the digest of all it depends on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colmodern.config.index import IndexSettings
from colmodern.config.models import EvalConfig
from colmodern.encoder.encoder import Encoder
from colmodern.encoding.store import (
    ShardWorkers,
    corpus_key,
    encode_corpus,
    encode_to_store,
    store_of_ids,
)
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.fidelity import Fidelity, compare
from colmodern.evaluation.measures import Evaluation, evaluate
from colmodern.evaluation.stages import StageResult, measure_stages
from colmodern.evaluation.trec import read_run
from colmodern.files import sha256_of_json
from colmodern.index.ranking import mean_scores
from colmodern.pipeline.cache import FOLDER, CacheUse
from colmodern.pipeline.evaluate.filters import query_filters, query_groups, searched_fields
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.open.data import dataset_from_config
from colmodern.pipeline.passages import (
    best_passages,
    doc_ids_of,
    documents_of_passages,
    losses_of_documents,
    lost_passages,
)
from colmodern.pipeline.result import Timing
from colmodern.pipeline.searchers.base import (
    JudgedQueries,
    Prepared,
    Searcher,
    SearchResults,
    SearchTexts,
    compared_with,
)
from colmodern.pipeline.searchers.registry import make_searcher
from colmodern.pipeline.searchers.search_cache import RUN, search_once
from colmodern.progress import Progress, Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Dataset, ScoredDoc

_QUERY_SHARD_TOKENS = 1 << 20  # queries are few: one shard

RunResults = dict[str, list[ScoredDoc]]


class Stages:
    """Runs stages in order and keeps what each cost in ``timings``."""

    def __init__(
        self,
        config: EvalConfig,
        dataset: Dataset,
        encoder: Encoder,
        progress: Progress,
        *,
        use: CacheUse | None = None,
    ) -> None:
        """use: the use of the cache, where several share it; default: its own."""
        self.timings: dict[str, Timing] = {}
        self.made_in: dict[str, dict[str, object]] = {}  # stage -> the environment it ran in
        self._config = config
        self._dataset = dataset
        self._encoder = encoder
        self.progress = progress
        self.use = use or CacheUse(Path(config.output) / FOLDER)
        rank = config.search.passages
        texts = SearchTexts(dataset.corpus, dataset.queries, config.dataset, rank)
        self.searcher = make_searcher(config.index, encoder.device, texts)
        self.searcher.cluster = config.cluster
        self._excluded: dict[str, set[str]] = {q: set(ids) for q, ids in dataset.excluded.items()}
        if config.dataset.drop_self_matches:
            self._excluded |= {q: {q, *self._excluded.get(q, ())} for q in dataset.queries}
        self._fields = searched_fields(config, dataset)
        self.searcher.restrict(
            query_filters(config.search, config.dataset, dataset.queries, self._fields)
        )
        self.searcher.groups = query_groups(config.search.group_by, self._fields, self._excluded)
        split = getattr(config.index, "tune_split", None)
        self._tuning = None if split is None else self._other_queries(split)

    def encode_documents(self) -> EmbeddingStore:
        """Token embeddings of the corpus; of no document where the search reads texts alone."""
        if not self.searcher.reads_embeddings:
            # what a search finds in the collection depends on it, encoded or not
            contents = [self._dataset.corpus.fingerprint, self._encoder.fingerprint("document")]
            key = sha256_of_json(["no documents", *contents])
            store, _ = encode_to_store(
                iter(()),
                0,
                self._encoder,
                self.folder("documents", key),
                role="document",
                fingerprint=key,
                dtype="float32",
                shard_tokens=1,
                progress=Silent(),
            )
            return store
        read, dtype = self._config.dataset, self._config.storage.dtype
        titles: dict[str, Any] = {
            "join_titles": read.join_titles,
            "title_separator": read.title_separator,
            "dtype": dtype,
            "spans": self._config.storage.spans,
            "passages": self._config.search.passages is not None,
        }
        key = corpus_key(self._dataset.corpus, self._encoder, **titles)
        store, reused = encode_corpus(
            self._dataset.corpus,
            self._encoder,
            self.folder("documents", key),
            **titles,
            shard_tokens=self._config.storage.shard_tokens,
            progress=self.progress,
            devices=self._config.encoder.devices or (),
            workers=self._workers(),
        )
        self._record_encoding("encode documents", store, "documents", reused)
        return store

    def encode_queries(self) -> EmbeddingStore:
        """Token embeddings of the queries."""
        return self._encode_queries(self._dataset.model_queries, "encode queries")

    def judged_queries(self, split: str) -> JudgedQueries:
        """The queries of the split that tunes weights, none of which is evaluated."""
        reading = self._config.dataset.model_copy(update={"split": split})
        dataset = self._tuning
        assert dataset is not None, "a search that tunes weights names a split"
        embeddings = self._encode_queries(dataset.model_queries, f"encode queries of {split}")
        rank = self._config.search.passages
        texts = SearchTexts(self._dataset.corpus, dataset.queries, reading, rank)
        filters = query_filters(self._config.search, reading, dataset.queries, self._fields)
        return JudgedQueries(embeddings, texts, dataset.qrels, filters)

    def _other_queries(self, split: str) -> Dataset:
        """The evaluated set with the queries of another split.

        Raises ConfigError where the set has no splits, or the split has some of the evaluated
        queries.
        """
        reading = self._config.dataset.model_copy(update={"split": split})
        if reading.corpus is not None:
            raise ConfigError(
                f"index.tune_split={split}: files of one's own have no splits; give the data set as a "
                "folder with qrels/SPLIT.tsv"
            )
        try:
            dataset = dataset_from_config(reading)
        except DataError as error:
            raise DataError(f"index.tune_split={split}: {error}") from error
        if shared := sorted(dataset.queries.keys() & self._dataset.queries.keys()):
            raise ConfigError(
                f"index.tune_split={split}: it has {len(shared)} of the evaluated queries, such as "
                f"{shared[0]!r}; weights are never tuned on what they are measured on"
            )
        return dataset

    def _encode_queries(self, queries: Mapping[str, str], stage: str) -> EmbeddingStore:
        if not self.searcher.needs_model:
            key = sha256_of_json(["not encoded", list(queries.items())])
            return store_of_ids(self.folder("queries", key), list(queries), key, self._encoder.dim)
        key = sha256_of_json([list(queries.items()), self._encoder.fingerprint("query")])
        store, reused = encode_to_store(
            queries.items(),
            len(queries),
            self._encoder,
            self.folder("queries", key),
            role="query",
            fingerprint=key,
            dtype="float32",
            shard_tokens=_QUERY_SHARD_TOKENS,
            progress=self.progress,
        )
        self._record_encoding(stage, store, "queries", reused)
        if n_cut := int(store.manifest["facts"]["n_truncated"]):
            length = self._encoder.settings.query_length
            self.progress.note(f"{n_cut:,} of {len(queries):,} queries cut at {length} tokens")
        return store

    def prepare(self, documents: EmbeddingStore, queries: EmbeddingStore) -> Prepared:
        """What the searcher prepares: an index, or files of candidates; None for nothing."""
        return self.searcher.prepare(documents, queries, self)

    def search(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Prepared
    ) -> RunResults:
        """The best documents of every query."""
        return self._search("search", self.searcher, documents, queries, prepared)[0]

    def search_each(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Prepared
    ) -> tuple[RunResults, list[float]]:
        """As ``search``, one query after another, and the seconds that each of them took."""
        run, record = self._search(
            "search", self.searcher, documents, queries, prepared, is_each=True
        )
        return run, record["latencies"]

    def search_exactly(
        self, documents: EmbeddingStore, queries: EmbeddingStore, *, stage: str = "exact search"
    ) -> RunResults:
        """The truth: the best documents of every query by exact MaxSim."""
        searcher = self.searcher
        if not searcher.is_exact:
            config = compared_with(self._config.index)
            searcher = make_searcher(config, self._encoder.device)
            searcher.restrict(self.searcher.filters)
            searcher.groups = self.searcher.groups
            searcher.passages = self._config.search.passages
        return self._search(stage, searcher, documents, queries, None)[0]

    @property
    def n_wanted(self) -> int:
        """Documents to ask an index for: k, and those that may have to be left out."""
        most = max(map(len, self._dataset.excluded.values()), default=0)
        return self._config.search.k + bool(self._config.dataset.drop_self_matches) + most

    def compare(
        self,
        run: RunResults,
        exact: RunResults,
        prepared: Prepared,
        queries: EmbeddingStore,
    ) -> tuple[Fidelity, list[Loss]]:
        """What the index loses against exact search, and where; always computed."""
        start, k = time.perf_counter(), self._config.search.k
        fidelity = compare(run, exact, self._dataset.qrels, measures=self._config.measures, k=k)
        lost = (
            fidelity.lost if self.searcher.passages is None else lost_passages(fidelity.lost, exact)
        )
        losses = self.searcher.explain_losses(lost, queries, prepared, self.n_wanted, self.progress)
        if self.searcher.passages is not None:
            losses = losses_of_documents(losses)
        seconds = time.perf_counter() - start
        self.timings["compare"] = Timing(seconds, queries.n_docs, "queries", False)
        return fidelity, losses

    def measure_stages(self, run: RunResults, prepared: Prepared) -> list[StageResult]:
        """What each stage keeps of the relevant documents; nothing for a search of one stage."""
        first = self.searcher.first_stages(prepared)
        if not first:
            return []
        name, measures = self._config.index.kind, self._config.measures
        return measure_stages(first, run, name, self._dataset.qrels, measures)

    def measure(self, run: RunResults) -> Evaluation:
        """Measures of a run; cheap, so always computed."""
        start = time.perf_counter()
        evaluation = evaluate(run, self._dataset.qrels, self._config.measures)
        seconds = time.perf_counter() - start
        self.timings["measure"] = Timing(seconds, len(self._dataset.queries), "queries", False)
        return evaluation

    def _search(
        self,
        stage: str,
        searcher: Searcher[IndexSettings],
        documents: EmbeddingStore,
        queries: EmbeddingStore,
        prepared: Prepared,
        *,
        is_each: bool = False,
    ) -> tuple[RunResults, dict[str, Any]]:
        """Search, or read what an earlier call found; with what is recorded of it."""
        kind, *settings = searcher.cache_key(prepared)
        inputs = [documents.manifest["fingerprint"], queries.manifest["fingerprint"]]
        way = f"{kind} each" if is_each else kind
        rule = [sha256_of_json(self._dataset.excluded)] if self._dataset.excluded else []
        if self._config.dataset.drop_self_matches:
            rule.append("no self-matches")
        rules = (searcher.filters, searcher.groups)
        rule += [setting.key for setting in rules if setting is not None]
        key = [*inputs, way, self.n_wanted, *settings, *rule, *searcher.ranking_key]

        def find() -> SearchResults:
            if stage != "search":
                self.progress.note(f"{stage}, to see what the index loses")
            search = searcher.search_each if is_each else searcher.search
            results = search(documents, queries, prepared, self.n_wanted, self.progress)
            rankings = results.results
            if self._excluded:
                rankings = [
                    [x for x in best if x.doc_id not in self._excluded.get(query_id, ())]
                    for query_id, best in zip(queries.doc_ids, rankings, strict=True)
                ]
                rankings = [best[: self._config.search.k] for best in rankings]
            if searcher.passages is not None:
                rankings = [best_passages(ranking) for ranking in rankings]
            return results._replace(results=rankings)

        folder, record = search_once(self, stage, key, kind, queries.doc_ids, find)
        run = read_run(folder / RUN, may_be_empty=True)  # no query may have a candidate
        rankings = [run.get(query_id, []) for query_id in queries.doc_ids]
        if self._config.search.score == "mean":
            rankings = list(mean_scores(rankings, queries.to_memory()))
        if searcher.passages is not None:
            rankings = [documents_of_passages(ranking) for ranking in rankings]
        return dict(zip(queries.doc_ids, rankings, strict=True)), record

    def folder(self, stage: str, key: str) -> Path:
        """Where a stage's result is kept; key: digest of all it depends on."""
        return self.use.hold(f"{stage}-{key[:16]}")

    def record(self, stage: str, timing: Timing, environment: dict[str, object]) -> None:
        """Keep what a stage cost, and the environment that it ran in."""
        self.timings[stage] = timing
        self.made_in[stage] = environment

    def _workers(self) -> ShardWorkers | None:
        """The processes on a cluster that encode documents; None for this machine."""
        if self._config.cluster is None:
            return None
        from colmodern.cluster.encode import ClusterEncoders

        return ClusterEncoders(self._config.cluster)

    def _record_encoding(self, stage: str, store: EmbeddingStore, unit: str, reused: bool) -> None:
        n = len(doc_ids_of(store))
        timing = Timing(store.manifest["facts"]["seconds"], n, unit, reused)
        self.record(stage, timing, store.manifest["environment"])
        if reused:
            self.progress.note(f"{stage}: reused {store.folder}")
