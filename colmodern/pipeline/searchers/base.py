"""What the stages of an evaluation ask of a kind of index."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from colmodern.config.cluster import ClusterConfig
from colmodern.config.index import ExactIndexConfig, IndexSettings
from colmodern.config.model_use import needs_model
from colmodern.config.models import DatasetConfig
from colmodern.encoder.encoder import Encoder
from colmodern.encoding.store import document_texts
from colmodern.evaluation.fidelity import LostDoc
from colmodern.kernels.device import Kernels, resolve_device
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.passages import ranked_by_passages
from colmodern.pipeline.result import Timing
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.query_search import (
    GroupedSearch,
    QueryFilters,
    QueryGroups,
    QuerySearch,
)
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Corpus, PassageRank, Qrels, Run, ScoredDoc
from colmodern.units import parse_bytes

Config = TypeVar("Config", bound=IndexSettings, covariant=True)
# folder of an index, None where it has none; for a search made of others, a list of theirs
IndexFolders = Path | None | list["IndexFolders"]
Prepared = Any  # what a kind's ``prepare`` returns, which its other methods take
FLOAT32 = 4  # bytes of a value
_RESULT_BYTES = 120  # a (doc_id, score) in a list


class SearchTexts(NamedTuple):
    """Documents and queries as texts, how a document's text is read, and how passages rank it."""

    corpus: Corpus
    queries: Mapping[str, str]
    reading: DatasetConfig
    passages: PassageRank | None = None

    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of each document, as it is encoded."""
        return document_texts(
            self.corpus,
            join_titles=self.reading.join_titles,
            title_separator=self.reading.title_separator,
        )


class SearchResults(NamedTuple):
    """Results in the order of the queries, and the time they took.

    Attributes:
        latencies: Seconds of each query; None where all were searched together.
    """

    results: list[list[ScoredDoc]]
    seconds: float
    latencies: list[float] | None = None


class JudgedQueries(NamedTuple):
    """The queries of a split: embedded, as texts with the documents, and their judgments.

    Attributes:
        filters: The documents that each query may return; None for all.
    """

    embeddings: EmbeddingStore
    texts: SearchTexts
    qrels: Qrels
    filters: QueryFilters | None = None


class Workspace(Protocol):
    """Where a searcher keeps what it prepares, and records what that cost."""

    def judged_queries(self, split: str) -> JudgedQueries:
        """The queries of the split that tunes weights, none of which is evaluated."""

    @property
    def progress(self) -> Progress:
        """Receives the steps."""

    def folder(self, stage: str, key: str) -> Path:
        """Folder of a stage's result; key: digest of all that it depends on."""

    def record(self, stage: str, timing: Timing, environment: dict[str, object]) -> None:
        """Keep what a stage cost, and the environment that it ran in."""


@dataclass(frozen=True)
class Workload:
    """The sizes that memory and time of a search follow from; item: bytes of a stored value."""

    sample: Sample
    dim: int
    item: int
    k: int

    @property
    def token_bytes(self) -> int:
        """Bytes of a token embedding in float32."""
        return self.dim * FLOAT32

    @property
    def query_bytes(self) -> float:
        """Bytes of all queries."""
        return self.sample.n_query_tokens * self.token_bytes

    @property
    def result_bytes(self) -> int:
        """Bytes of the results of all queries."""
        return self.sample.n_queries * (self.k + 1) * _RESULT_BYTES

    def exact_bytes(self, max_memory: str) -> float:
        """The most bytes that exact search takes within its ceiling."""
        budget = parse_bytes(max_memory, name="index.exact_max_memory")
        a_token = self.token_bytes + self.item + 16 + 12 * min(1024, self.sample.n_query_tokens)
        needed = self.sample.tokens.high * a_token * 2
        return min(budget, needed) + 2 * self.result_bytes + self.query_bytes


Seconds = Callable[[Sample], Mapping[str, Total]]  # sample of a corpus -> stage -> seconds


class Searcher(ABC, Generic[Config]):
    """Prepares, opens, searches, explains and plans one kind of index.

    Attributes:
        config: Settings, with the device resolved.
        devices: Where the index is searched.
        device: Setting of these devices.
        passages: How documents are ranked by their passages; None where each has one embedding.
    """

    kernels: ClassVar[Kernels] = "triton"  # what its search has on a GPU
    is_exact: ClassVar[bool] = False  # whether its results are the truth
    reads_embeddings: bool = True  # whether documents have to be encoded for it
    loss_stages: tuple[str, ...] = ()  # stages that may lose a document
    # settings of the ceilings, as low as is sensible
    smallest: ClassVar[Mapping[str, str]] = MappingProxyType({"index.exact_max_memory": "64M"})
    filters: QueryFilters | None = None  # the documents that each query may return
    groups: QueryGroups | None = None  # what each document is grouped by in the results
    cluster: ClusterConfig | None = None  # machines that build and search shards
    has_first_stages: ClassVar[bool] = False  # whether it begins with other searches

    def __init__(
        self, config: Config, encoder_device: str, texts: SearchTexts | None = None
    ) -> None:
        setting = getattr(config, "device", "cpu")  # words are counted on the CPU
        self.devices = resolve_device(
            setting, kernels=self.kernels, auto=encoder_device, name="index.device"
        )
        self.device = self.devices.setting
        is_settled = not hasattr(config, "device")
        self.config: Config = (
            config if is_settled else config.model_copy(update={"device": self.device})
        )
        self._given_texts = texts
        self.passages: PassageRank | None = None if texts is None else texts.passages

    @property
    def needs_model(self) -> bool:
        """Whether queries have to be encoded for it."""
        return needs_model(self.config)

    @property
    def texts(self) -> SearchTexts:
        """Documents and queries, for a search that reads them."""
        assert self._given_texts is not None, "a search that reads texts is given them"
        return self._given_texts

    @property
    def nbits(self) -> int | None:
        """Bits for each dimension of a compressed token; None where nothing is compressed."""
        return None

    @property
    def n_centroids(self) -> int | None:
        """Centroids of a compressed index; None where they are chosen."""
        return None

    @property
    def most_results(self) -> int | None:
        """Documents that a search can find for a query at most; None: all."""
        most: int | None = self.config.most_results
        return most

    def restrict(self, filters: QueryFilters | None) -> None:
        """Search, from now on, among the documents that each query may return; None: all."""
        self.filters = filters

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of all that ``prepare`` depends on, beside the queries."""
        return ""

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> Prepared:
        """Make what a search needs on disk, or reuse it; None where it needs nothing."""
        return None

    @abstractmethod
    def cache_key(self, prepared: Prepared) -> list[Any]:
        """The kind, then all that results depend on beside embeddings and ``k``."""

    @abstractmethod
    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Prepared, k: int
    ) -> QuerySearch:
        """The index, ready for the queries and their filters: whatever happens once is done."""

    @property
    def ranking_key(self) -> list[str]:
        """How documents are ranked by their passages, as far as results depend on it."""
        return [] if self.passages is None else [f"passages by {self.passages}"]

    def ranked(self, index: Any) -> Any:
        """The index, or one that ranks documents where it has their passages."""
        return ranked_by_passages(index, self.passages)

    def _opened(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Prepared, k: int
    ) -> QuerySearch:
        query_search = self.open(documents, queries, prepared, k)
        if self.groups is None:
            return query_search
        return GroupedSearch(query_search, self.groups, queries.doc_ids, k, self.most_results)

    def search(
        self,
        documents: EmbeddingStore,
        queries: EmbeddingStore,
        prepared: Prepared,
        k: int,
        progress: Progress,
    ) -> SearchResults:
        """The best ``k`` documents of every query; opening and compiling are not timed."""
        query_search = self._opened(documents, queries, prepared, k)
        start = time.perf_counter()
        results = query_search.search_all(progress)
        return SearchResults(results, time.perf_counter() - start)

    def search_each(
        self,
        documents: EmbeddingStore,
        queries: EmbeddingStore,
        prepared: Prepared,
        k: int,
        progress: Progress,
    ) -> SearchResults:
        """As ``search``, one query after another, with the seconds of each."""
        query_search = self._opened(documents, queries, prepared, k)
        results, latencies = [], []
        progress.start("search", queries.n_docs, unit="queries")
        for position in range(queries.n_docs):
            start = time.perf_counter()
            results.append(query_search.search_one(position))
            latencies.append(time.perf_counter() - start)
            progress.advance(1)
        progress.finish()
        return SearchResults(results, sum(latencies), latencies)

    def explain_losses(
        self,
        lost: Sequence[LostDoc],
        queries: EmbeddingStore,
        prepared: Prepared,
        k: int,
        progress: Progress,
    ) -> list[Loss]:
        """The member of ``loss_stages`` that lost each document, and the reason."""
        return []

    def index_folder(self, prepared: Prepared) -> Path | None:
        """The folder of an index that can be searched by itself; None where there is none."""
        return None

    def first_stage_folders(self, prepared: Prepared) -> list[IndexFolders]:
        """The folders of the indexes that the search began with."""
        return []

    def first_stages(self, prepared: Prepared) -> Mapping[str, Run]:
        """Runs that the search began with, by the name of what made them; empty for one stage."""
        return {}

    def inputs(self) -> dict[str, str]:
        """Digests of files that results depend on, beside collection, model and config."""
        return {}

    def facts(self, documents: EmbeddingStore, prepared: Prepared) -> dict[str, Any]:
        """What a run's metrics say of the index."""
        return {}

    def searched_bytes(self, documents: EmbeddingStore, prepared: Prepared) -> int:
        """Bytes on disk that searches read."""
        return documents.n_bytes

    @abstractmethod
    def memory(self, work: Workload) -> dict[str, float]:
        """Stage -> the most bytes that it takes beside what the process has already."""

    def ceilings(self, work: Workload) -> dict[str, float]:
        """Settings that bound a stage -> bytes that the stage takes beside that ceiling."""
        return {"index.exact_max_memory": 2 * work.result_bytes + work.query_bytes}

    @abstractmethod
    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """Do a little of each stage, and say how many seconds a whole corpus will take."""


def prepared_folder(prepared: Path | None) -> Path:
    """The folder that ``prepare`` made, which comes first."""
    assert prepared is not None, "prepare() comes before"
    return prepared


def elsewhere(device: str) -> list[str]:
    """The device where it is not the CPU: results and times of a search depend on it."""
    return [] if device == "cpu" else [device]


def compared_with(config: IndexSettings) -> ExactIndexConfig:
    """Exact search beside an index, as the truth: in full precision, within its ceiling."""
    names = ("exact_max_memory", "device", "device_max_memory")
    return ExactIndexConfig(
        **{name: getattr(config, name) for name in names if hasattr(config, name)}
    )
