"""BM25: an index of the texts, built once; embeddings take no part in its searches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from colmodern.config.index import Bm25IndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.files import sha256_of_json
from colmodern.index.bm25.files import VERSION
from colmodern.index.bm25.index import BM25Index
from colmodern.index.bm25.words import Analyzer, WordSettings, load_bm25s
from colmodern.index.filters import DocFilter
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    Searcher,
    SearchTexts,
    Seconds,
    Workload,
    Workspace,
    prepared_folder,
)
from colmodern.pipeline.searchers.build_cache import build_once, record_build
from colmodern.pipeline.searchers.query_search import QuerySearch
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import ScoredDoc

_BYTES_PER_LETTER = 8  # peak of indexing beside the process, measured on the built-in set
_TRIED_DOCS, _TRIED_QUERIES = 1000, 64


class Bm25Searcher(Searcher[Bm25IndexConfig]):
    """Builds, or reuses, a BM25 index of the corpus and searches it with the queries' texts."""

    smallest = MappingProxyType({})
    reads_embeddings = False

    def __init__(
        self, config: Bm25IndexConfig, encoder_device: str, texts: SearchTexts | None = None
    ) -> None:
        """Raises InputError for settings of words that do not exist, MissingExtraError for a package."""
        super().__init__(config, encoder_device, texts)
        words = config.stop_words
        Analyzer(WordSettings(config.token_pattern, words, config.stemmer))

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of the texts, and of all settings."""
        reading = self.texts.reading
        titles = reading.title_separator if reading.join_titles else None
        settings = self.config.model_dump(mode="json")
        library = load_bm25s().__version__
        return sha256_of_json([VERSION, library, settings, self.texts.corpus.fingerprint, titles])

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> Path:
        """Build the index, or check the one that an earlier call built."""
        folder = workspace.folder("index", self.preparation_key(documents))
        progress = workspace.progress
        built = build_once(
            folder,
            lambda: self._build(folder, progress),
            lambda: BM25Index.check(folder, progress=progress),
        )
        n_docs = len(self.texts.corpus)
        record_build(workspace, "build BM25 index", folder, built, n_docs, "documents")
        return folder

    def cache_key(self, prepared: Path | None) -> list[object]:
        """The index by the name of its folder, and the queries' texts."""
        name = prepared_folder(prepared).name
        return ["bm25", [name, sha256_of_json(list(self.texts.queries.items()))]]

    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Path | None, k: int
    ) -> QuerySearch:
        """The index, with its files compared with their checksums."""
        index = BM25Index.load(prepared_folder(prepared))
        texts = [self.texts.queries[query_id] for query_id in queries.doc_ids]
        if texts:
            index.search(texts[0], 1)
        if self.filters is None:
            return TextSearch(index, texts, k)
        return TextSearch(index, texts, k, self.filters.prepared(index, queries.doc_ids))

    def index_folder(self, prepared: Path | None) -> Path | None:
        """The index itself."""
        return prepared

    def facts(self, documents: EmbeddingStore, prepared: Path | None) -> dict[str, Any]:
        """Sizes and settings of the index."""
        info = BM25Index.load(prepared_folder(prepared)).info()
        return {"bm25": {name: info[name] for name in _FACTS}}

    def searched_bytes(self, documents: EmbeddingStore, prepared: Path | None) -> int:
        """Bytes of the index."""
        n_bytes: int = self.facts(documents, prepared)["bm25"]["bytes"]["total"]
        return n_bytes

    def memory(self, work: Workload) -> dict[str, float]:
        """The words of all documents, and the scores of a query."""
        sample = work.sample
        letters = sum(map(len, sample.texts)) / max(1, len(sample.texts)) * sample.n_docs
        return {
            "build BM25 index": _BYTES_PER_LETTER * letters,
            "search": work.result_bytes + 16 * sample.n_docs,
        }

    def ceilings(self, work: Workload) -> dict[str, float]:
        """None: what it takes follows from the texts."""
        return {}

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """Index some of the texts and search them."""
        tried = list(islice(self.texts.documents(), _TRIED_DOCS))
        texts = list(islice(self.texts.queries.values(), _TRIED_QUERIES))
        with tempfile.TemporaryDirectory(prefix="colmodern-plan-") as name:
            start = time.perf_counter()
            index = self._build(Path(name) / "bm25", progress, tried)
            built = time.perf_counter()
            index.search_batch(texts, k)
            searched = time.perf_counter()

        def seconds(sample: Sample) -> Mapping[str, Total]:
            share = sample.n_docs / max(1, len(tried))
            per_query = (searched - built) / max(1, len(texts))
            return {
                "build BM25 index": Total(*((built - start) * share,) * 3),
                "search": Total(*(per_query * sample.n_queries * share,) * 3),
            }

        return seconds

    def _build(
        self, folder: Path, progress: Progress, documents: list[tuple[str, str]] | None = None
    ) -> BM25Index:
        settings = self.config.model_dump(exclude={"kind"})
        return BM25Index.build(
            self.texts.documents() if documents is None else documents,
            folder,
            **settings,
            overwrite=True,
            progress=progress,
        )


_FACTS = ("words", "vocabulary", "settings", "library", "bytes")


@dataclass(frozen=True)
class TextSearch:
    """A BM25 index, with the queries of its searches as texts.

    filters: for each query the filter of its search; None where no query has one
    """

    index: BM25Index
    texts: list[str]
    k: int
    filters: Sequence[DocFilter | None] | None = None

    def search_all(self, progress: Progress) -> list[list[ScoredDoc]]:
        """Results of all queries, in their order."""
        if self.filters is None:
            return list(self.index.search_batch(self.texts, self.k, progress=progress))
        return [self.search_one(position) for position in range(len(self.texts))]

    def search_one(self, position: int) -> list[ScoredDoc]:
        """Results of the query at a position."""
        filter = None if self.filters is None else self.filters[position]
        return self.index.search(self.texts[position], self.k, filter=filter)

    def with_k(self, k: int) -> TextSearch:
        """The same search for another number of results."""
        return replace(self, k=k)
