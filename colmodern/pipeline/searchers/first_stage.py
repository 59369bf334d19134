"""A search that another one begins with: a TREC run, or an index that is searched for one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from colmodern.config.index import FirstStage as FirstStageConfig
from colmodern.config.index import IndexSettings
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.trec import read_run
from colmodern.files import sha256_of_file
from colmodern.pipeline.passages import doc_ids_of
from colmodern.pipeline.result import Timing
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    IndexFolders,
    JudgedQueries,
    Searcher,
    SearchResults,
    SearchTexts,
    Seconds,
    Workload,
    Workspace,
)
from colmodern.pipeline.searchers.query_search import QueryFilters
from colmodern.pipeline.searchers.search_cache import RUN, search_once
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import ScoredDoc

_log = logging.getLogger(__name__)
_TRUTH = "exact search"  # beside an index; the search that a first stage belongs to has its own


class ResultCount(NamedTuple):
    """Results of a query: their mean and largest number."""

    mean: float
    most: int


def collection_ids(documents: EmbeddingStore, texts: SearchTexts | None) -> list[str]:
    """The ids of the documents, also where none of them is encoded."""
    ids = doc_ids_of(documents)
    return ids if ids or texts is None else [document.doc_id for document in texts.corpus]


class FirstStageFiles(NamedTuple):
    """A TREC run, and the folders of the index that made it; None where it has no folder."""

    run: Path
    index_folders: IndexFolders


class FirstStage:
    """Finds the first ``depth`` documents of each query, or reads them.

    Args:
        config: Settings of an index, or the path of a TREC run.
        make_searcher: The registry's function, which imports this module's users.
        encoder_device: Where the encoder is.
        texts: Documents and queries, for kinds that read them; None where they are not known.
        depth: Documents of each query; None: all of a run.
        field: The setting of ``config``, for messages.

    Attributes:
        name: What the search is called in reports: the kind, or the name of the run's file.

    Raises:
        ConfigError: The run does not exist.
        DataError: The run lacks most queries, or is malformed.
        MissingExtraError: An index needs a package that is not installed.
    """

    def __init__(
        self,
        config: FirstStageConfig,
        make_searcher: Callable[..., Searcher[IndexSettings]],
        encoder_device: str,
        texts: SearchTexts | None,
        *,
        depth: int | None,
        field: str,
    ) -> None:
        self.depth = depth
        self._texts, self._field, self._path = texts, field, None
        self._filters: QueryFilters | None = None
        self._searcher: Searcher[IndexSettings] | None = None
        if not isinstance(config, str):
            self.name: str = config.kind
            self._searcher = make_searcher(config, encoder_device, texts)
            return
        self._path, self.name = Path(config), Path(config).name
        if not os.path.isfile(config):
            fault = "not a file" if os.path.exists(config) else "there is no such file"
            raise ConfigError(
                f"{field}={config}: {fault}; give a TREC run, or a kind of index, such as bm25"
            )
        if texts is not None:
            self._expect_queries(texts.queries)

    def restrict(self, filters: QueryFilters | None) -> None:
        """As ``Searcher.restrict``; documents of a run that are not allowed are left out."""
        self._filters = filters
        if self._searcher is not None:
            self._searcher.restrict(filters)

    @property
    def reads_embeddings(self) -> bool:
        """Whether documents have to be encoded for it."""
        return self._searcher is not None and self._searcher.reads_embeddings

    @property
    def index(self) -> Searcher[IndexSettings] | None:
        """The searcher of an index; None for a run."""
        return self._searcher

    @cached_property
    def given_run(self) -> dict[str, list[ScoredDoc]]:
        """The run of the config; raises DataError when it is malformed."""
        assert self._path is not None, "only a path has a run"
        try:
            return read_run(self._path)
        except DataError as error:
            raise DataError(f"{self._field}: {error}") from error

    def key(self, documents: EmbeddingStore) -> list[Any]:
        """All that the run depends on, beside the queries."""
        rule = [] if self._filters is None else [self._filters.key]
        if self._searcher is None:
            return [self.digest, self.depth, *rule]
        settings = self._searcher.config.model_dump(mode="json")
        prepared = self._searcher.preparation_key(documents)
        rule += self._searcher.ranking_key
        return [settings, prepared, documents.manifest["fingerprint"], self.depth, *rule]

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace, stage: str
    ) -> FirstStageFiles:
        """A TREC run: the given one, or that of a search, which an earlier call may have made.

        Args:
            documents: Embeddings of the corpus.
            queries: Embeddings of the queries.
            workspace: Where results and costs are kept.
            stage: Name of the search in timings.

        Raises:
            DataError: The collection has no document of a given run.
        """
        searcher = self._searcher
        if searcher is None:
            assert self._path is not None, "without an index there is a path"
            self._expect_documents(documents)
            return FirstStageFiles(self._path, None)
        k = self.depth or len(doc_ids_of(documents))
        own = StageWorkspace(workspace, stage) if searcher.has_first_stages else workspace
        prepared = searcher.prepare(documents, queries, own)
        kind, *settings = searcher.cache_key(prepared)
        embedded = [documents.manifest["fingerprint"], queries.manifest["fingerprint"]]
        rule = [] if self._filters is None else [self._filters.key]
        key = ["first stage", *embedded, kind, k, *settings, *rule, *searcher.ranking_key]

        def find() -> SearchResults:
            workspace.progress.note(f"{stage}: {self.name}, {k:,} documents of each query")
            return searcher.search(documents, queries, prepared, k, workspace.progress)

        folder, _ = search_once(workspace, stage, key, kind, queries.doc_ids, find)
        if searcher.has_first_stages:
            return FirstStageFiles(folder / RUN, searcher.first_stage_folders(prepared))
        return FirstStageFiles(folder / RUN, searcher.index_folder(prepared))

    def results(self, prepared: FirstStageFiles) -> dict[str, list[ScoredDoc]]:
        """Results of each query by what ``prepare`` returned; of a given run all that are allowed."""
        if self._searcher is None:
            return self._allowed(self.given_run)
        return read_run(prepared.run, may_be_empty=True)  # no query may have a result

    def _allowed(self, run: dict[str, list[ScoredDoc]]) -> dict[str, list[ScoredDoc]]:
        """A run without the documents that its queries may not return."""
        if self._filters is None:
            return run
        allowed = {
            q: None if ids is None else set(ids) for q, ids in self._filters.by_query.items()
        }
        kept = {}
        for query_id, results in run.items():
            ids = allowed.get(query_id)
            kept[query_id] = results if ids is None else [x for x in results if x.doc_id in ids]
        return kept

    def searched(self, run: Mapping[str, list[ScoredDoc]]) -> dict[str, list[ScoredDoc]]:
        """The results of the evaluation's queries, as far as the run has any."""
        if self._texts is None:
            return dict(run)
        return {query_id: run[query_id] for query_id in self._texts.queries if query_id in run}

    @property
    def digest(self) -> str:
        """Digest of the file of a run; empty for an index."""
        return sha256_of_file(self._path) if self._path is not None else ""

    def count(self, sample: Sample) -> ResultCount:
        """Results of a query: of a given run as they are, of an index as many as there may be."""
        most = min(self.depth or sample.n_docs, sample.n_docs)
        if self._searcher is not None:
            return ResultCount(most, most)
        counts = [min(most, len(results)) for results in self.searched(self.given_run).values()]
        return ResultCount(sum(counts) / max(1, len(counts)), max(counts, default=0))

    def memory(self, work: Workload, stage: str) -> dict[str, float]:
        """As ``Searcher.memory``; its search is called ``stage``."""
        if self._searcher is None:
            return {}
        own = self._searcher.memory(replace(work, k=self.depth or work.k))
        nested = self._searcher.has_first_stages
        return {
            _renamed(name, stage, nested): n_bytes
            for name, n_bytes in own.items()
            if name != _TRUTH
        }

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        progress: Progress,
        stage: str,
    ) -> Seconds:
        """As ``Searcher.time``; its search is called ``stage``."""
        if self._searcher is None:
            return lambda sample: {}
        k = min(self.depth or len(documents), len(documents))
        own = self._searcher.time(documents, queries, encoder, k, progress)
        nested = self._searcher.has_first_stages

        def seconds(sample: Sample) -> Mapping[str, Total]:
            return {_renamed(n, stage, nested): t for n, t in own(sample).items() if n != _TRUTH}

        return seconds

    def _expect_queries(self, queries: Mapping[str, str]) -> None:
        """Raise DataError where the run has no results for most queries; warn where it lacks some.

        The TREC format has no line for a query without results.
        """
        lacking = [query_id for query_id in queries if query_id not in self.given_run]
        if not lacking:
            return
        message = (
            f"{self._field}={self._path}: it has no candidates for query {lacking[0]!r} "
            f"({len(lacking)} such of {len(queries)} queries)"
        )
        if 2 * len(lacking) > len(queries):
            raise DataError(f"{message}; give a run of these queries, or a kind of index")
        _log.warning("%s; such queries get no results", message)

    def _expect_documents(self, documents: EmbeddingStore) -> None:
        """Raise DataError where the collection lacks all documents of the run; warn where it lacks some."""
        known = set(collection_ids(documents, self._texts))
        run = self.searched(self.given_run)
        doc_ids = dict.fromkeys(doc_id for results in run.values() for doc_id, _ in results)
        lacking = [doc_id for doc_id in doc_ids if doc_id not in known]
        if not lacking:
            return
        message = f"{self._field}={self._path}: "
        if len(lacking) == len(doc_ids):
            raise DataError(
                f"{message}none of its documents is in the collection, such as {lacking[0]!r}; give a "
                "run of this collection"
            )
        message += f"the collection lacks its document {lacking[0]!r}"
        _log.warning("%s (%d such of %d); they are left out", message, len(lacking), len(doc_ids))


@dataclass(frozen=True)
class StageWorkspace:
    """A workspace whose stages are those of one stage of a search, and carry its name in front."""

    whole: Workspace
    stage: str

    @property
    def progress(self) -> Progress:
        """Receives the steps."""
        return self.whole.progress

    def judged_queries(self, split: str) -> JudgedQueries:
        """As ``Workspace.judged_queries``."""
        return self.whole.judged_queries(split)

    def folder(self, stage: str, key: str) -> Path:
        """As ``Workspace.folder``: what is kept does not depend on the search that needs it."""
        return self.whole.folder(stage, key)

    def record(self, stage: str, timing: Timing, environment: dict[str, object]) -> None:
        """As ``Workspace.record``."""
        self.whole.record(f"{self.stage}: {stage}", timing, environment)


def _renamed(name: str, stage: str, nested: bool) -> str:
    """The name of a stage of a search within another; nested: whether it has stages of its own."""
    if name == "search":
        return stage
    return f"{stage}: {name}" if nested else name
