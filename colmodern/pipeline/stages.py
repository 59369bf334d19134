"""The stages of an evaluation, each reused when an earlier call finished it.

A finished stage lives in OUTPUT/.cache under the digest of all it depends on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from colmodern.config.models import EvalConfig, ExactIndexConfig, PlaidIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import StorageError
from colmodern.evaluation.fidelity import Fidelity, compare
from colmodern.evaluation.measures import Evaluation, evaluate
from colmodern.evaluation.trec import read_run, write_run
from colmodern.files import (
    read_json_object,
    sha256_of_file,
    sha256_of_json,
    staging,
    write_json,
)
from colmodern.index.exact import ExactIndex
from colmodern.pipeline.cache import FOLDER, CacheUse
from colmodern.pipeline.encode import corpus_key, encode_corpus, encode_to_store
from colmodern.pipeline.environment import describe_environment
from colmodern.pipeline.fidelity_stage import Loss, explain_losses
from colmodern.pipeline.machine_faults import COMPILED_SEARCH, check_address_space
from colmodern.pipeline.result import Timing
from colmodern.pipeline.search_device import exact_devices, search_devices
from colmodern.progress import Progress
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Dataset, ScoredDoc

_FORMAT = 1  # raised when the same embeddings begin to give other results
_SEARCH = "search.json"
_CURE = "delete the folder and run again"
_QUERY_SHARD_TOKENS = 1 << 20  # queries are few: one shard

RunResults = dict[str, list[ScoredDoc]]


class SearchResults(NamedTuple):
    """Results in the order of the queries, and the time they took.

    latencies: of each query, in seconds; None where all were searched together
    """

    results: list[list[ScoredDoc]]
    seconds: float
    latencies: list[float] | None = None


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
        """use: of the cache, where several share it; default: its own."""
        self.timings: dict[str, Timing] = {}
        self.made_in: dict[str, dict[str, Any]] = {}  # stage -> the environment it ran in
        self._config = config
        self._dataset = dataset
        self._encoder = encoder
        self._progress = progress
        self.use = use or CacheUse(Path(config.output) / FOLDER)
        self.device = search_devices(config.index, encoder.device).setting
        self._index = config.index.model_copy(update={"device": self.device})

    def encode_documents(self) -> EmbeddingStore:
        """Token embeddings of the corpus."""
        read, dtype = self._config.dataset, self._config.storage.dtype
        titles: dict[str, Any] = {
            "join_titles": read.join_titles,
            "title_separator": read.title_separator,
        }
        key = corpus_key(self._dataset.corpus, self._encoder, dtype=dtype, **titles)
        store, reused = encode_corpus(
            self._dataset.corpus,
            self._encoder,
            self.folder("documents", key),
            **titles,
            dtype=dtype,
            shard_tokens=self._config.storage.shard_tokens,
            progress=self._progress,
            devices=self._config.encoder.devices or (),
        )
        self._record("encode documents", store, "documents", reused)
        return store

    def encode_queries(self) -> EmbeddingStore:
        """Token embeddings of the queries."""
        queries = self._dataset.queries
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
            progress=self._progress,
        )
        self._record("encode queries", store, "queries", reused)
        if n_cut := int(store.manifest["facts"]["n_truncated"]):
            length = self._encoder.settings.query_length
            self._progress.note(f"{n_cut:,} of {len(queries):,} queries cut at {length} tokens")
        return store

    def build_index(self, documents: EmbeddingStore) -> Path | None:
        """The index folder of the documents; None where exact search needs none."""
        if not isinstance(self._index, PlaidIndexConfig):
            return None
        exact = ", or search exactly: index.kind=exact"
        check_address_space(COMPILED_SEARCH, "a compressed index", cure=exact)
        from colmodern.pipeline.index_stage import build_once, index_key  # loads numba

        folder = self.folder("index", index_key(documents, self._index))
        record, reused = build_once(folder, documents, self._index, self._progress)
        self.timings["build index"] = Timing(
            record["seconds"], documents.n_tokens, "tokens", reused
        )
        self.made_in["build index"] = record["environment"]
        if reused:
            self._progress.note(f"build index: reused {folder}")
        return folder

    def search(
        self, documents: EmbeddingStore, queries: EmbeddingStore, index: Path | None
    ) -> RunResults:
        """The best documents of every query: of all documents where there is no index."""
        config, k = self._index, self._n_wanted
        if index is None or not isinstance(config, PlaidIndexConfig):
            return self.search_exactly(documents, queries, stage="search")
        from colmodern.pipeline.index_stage import search_index

        return self._search(
            "search",
            ["plaid", k, _index_settings(index, config)],
            "plaid",
            documents,
            queries,
            lambda: SearchResults(
                *search_index(index, documents, queries, config, k, self._progress)
            ),
        )[0]

    def search_each(
        self, documents: EmbeddingStore, queries: EmbeddingStore, index: Path
    ) -> tuple[RunResults, list[float]]:
        """As ``search``, one query after another, and the seconds that each of them took."""
        from colmodern.pipeline.index_stage import search_index_each

        config, k = self._index, self._n_wanted
        assert isinstance(config, PlaidIndexConfig)

        def find() -> SearchResults:
            results, latencies = search_index_each(
                index, documents, queries, config, k, self._progress
            )
            return SearchResults(results, sum(latencies), latencies)

        run, record = self._search(
            "search",
            ["plaid each", k, _index_settings(index, config)],
            "plaid",
            documents,
            queries,
            find,
        )
        return run, record["latencies"]

    def search_exactly(
        self, documents: EmbeddingStore, queries: EmbeddingStore, *, stage: str = "exact search"
    ) -> RunResults:
        """The truth: the best documents of every query by exact MaxSim."""
        config, k = self._config.index, self._n_wanted
        devices = exact_devices(config, self._encoder.device)
        # the truth beside a compressed index is in full precision
        precision = config.precision if isinstance(config, ExactIndexConfig) else "float32"

        def find() -> SearchResults:
            if stage != "search":
                self._progress.note(f"{stage}, to see what the index loses")
            index = ExactIndex(
                documents,
                documents.doc_ids,
                memory_budget=config.exact_max_memory,
                device=devices,
                device_memory=config.device_max_memory,
                precision=precision,
            )
            start = time.perf_counter()
            results = index.search_batch(queries.to_memory(), k, progress=self._progress)
            return SearchResults(results, time.perf_counter() - start)

        settings = [
            "exact",
            k,
            *_elsewhere(devices.setting),
            *([precision] if precision != "float32" else []),
        ]
        return self._search(stage, settings, "exact", documents, queries, find)[0]

    @property
    def _n_wanted(self) -> int:
        """Documents to ask an index for: one more where the query itself may be among them."""
        return self._config.search.k + bool(self._config.dataset.drop_self_matches)

    def compare(
        self, run: RunResults, exact: RunResults, index: Path, queries: EmbeddingStore
    ) -> tuple[Fidelity, list[Loss]]:
        """What the index loses against exact search, and where; always computed."""
        config, k = self._index, self._config.search.k
        assert isinstance(config, PlaidIndexConfig)
        start = time.perf_counter()
        fidelity = compare(run, exact, self._dataset.qrels, measures=self._config.measures, k=k)
        losses = explain_losses(
            fidelity.lost, index, queries, config, self._n_wanted, self._progress
        )
        seconds = time.perf_counter() - start
        self.timings["compare"] = Timing(seconds, queries.n_docs, "queries", False)
        return fidelity, losses

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
        settings: list[Any],
        kind: str,
        documents: EmbeddingStore,
        queries: EmbeddingStore,
        find: Callable[[], SearchResults],
    ) -> tuple[RunResults, dict[str, Any]]:
        """Search, or read what an earlier call found; with what is recorded of it.

        settings: all that the results depend on; the first names the way of searching
        kind: of the index, which the TREC run names
        """
        searched = [documents.manifest["fingerprint"], queries.manifest["fingerprint"]]
        rule = ["no self-matches"] if self._config.dataset.drop_self_matches else []
        folder = self.folder("search", sha256_of_json([_FORMAT, *searched, *settings, *rule]))
        if reused := folder.is_dir():
            self._progress.note(f"{stage}: reused {folder}")
        else:
            result = find()
            run = dict(zip(queries.doc_ids, result.results, strict=True))
            if self._config.dataset.drop_self_matches:
                run = without_self_matches(run, self._config.search.k)
            with staging(folder) as staged:
                write_run(staged / "run.trec", run, tag=f"colmodern-{kind}")
                made = {
                    "seconds": result.seconds,
                    "latencies": result.latencies,
                    "sha256": sha256_of_file(staged / "run.trec"),
                    "environment": describe_environment(),
                }
                write_json(staged / _SEARCH, made)
        record = _read_search(folder)
        self.timings[stage] = Timing(record["seconds"], queries.n_docs, "queries", reused)
        self.made_in[stage] = record["environment"]
        stored = read_run(folder / "run.trec")
        return {query_id: stored.get(query_id, []) for query_id in queries.doc_ids}, record

    def folder(self, stage: str, key: str) -> Path:
        """Where a stage's result is kept; key: digest of all it depends on."""
        return self.use.hold(f"{stage}-{key[:16]}")

    def _record(self, stage: str, store: EmbeddingStore, unit: str, reused: bool) -> None:
        seconds = store.manifest["facts"]["seconds"]
        self.timings[stage] = Timing(seconds, store.n_docs, unit, reused)
        self.made_in[stage] = store.manifest["environment"]
        if reused:
            self._progress.note(f"{stage}: reused {store.folder}")


def without_self_matches(run: RunResults, k: int) -> RunResults:
    """The best ``k`` results of every query, without the document that has the query's own id."""
    return {
        query_id: [result for result in results if result.doc_id != query_id][:k]
        for query_id, results in run.items()
    }


def _index_settings(index: Path, config: PlaidIndexConfig) -> list[Any]:
    """What the results of an index depend on, beside the queries and k."""
    settings = [config.nprobe, config.n_candidates, config.rescore]
    return [index.name, *settings, *_elsewhere(config.device)]


def _elsewhere(device: str) -> list[str]:
    """The device where it is not the CPU: a search's results and times depend on it."""
    return [] if device == "cpu" else [device]


def _read_search(folder: Path) -> dict[str, Any]:
    """What is recorded of a finished search.

    Raises StorageError when its files are not what was written.
    """
    record = read_json_object(folder / _SEARCH, StorageError, cure=_CURE)
    run = folder / "run.trec"
    # searches of earlier versions have no latencies
    if not record.keys() >= {"seconds", "sha256", "environment"} or not run.is_file():
        raise StorageError(f"{folder} is damaged; {_CURE}")
    if sha256_of_file(run) != record["sha256"]:
        raise StorageError(f"{run} differs from its checksum; {_CURE}")
    return record
