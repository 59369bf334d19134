"""A compressed index: built once, searched with its settings, and held against exact search."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from colmodern.config.index import PlaidIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.fidelity import LostDoc
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.machine_faults import COMPILED_SEARCH, check_address_space
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    Searcher,
    Seconds,
    Workload,
    Workspace,
    compared_with,
    elsewhere,
    prepared_folder,
)
from colmodern.pipeline.searchers.build_cache import record_build
from colmodern.pipeline.searchers.exact import ExactSearcher, exact_seconds, seconds_of_pair
from colmodern.pipeline.searchers.query_search import IndexSearch, QuerySearch
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Stage
from colmodern.units import parse_bytes

if TYPE_CHECKING:
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.index.sharded.index import ShardedIndex

NOT_PROBED, PRUNED, QUANTISED = "not probed", "pruned by candidates", "quantisation"
_CAUSES = {
    Stage.PROBE: NOT_PROBED,
    Stage.GATHER: PRUNED,
    Stage.PRUNE: PRUNED,
    Stage.REFINE: QUANTISED,
    Stage.SCORE: QUANTISED,
}
_LIBRARIES = 120_000_000  # bytes of numba and faiss, which an index loads
# tokens of two small builds: beyond the fixed cost, and the slope
_BUILT_TOKENS = (40_000, 120_000)


class PlaidSearcher(Searcher[PlaidIndexConfig]):
    """Builds, or reuses, a compressed index and searches it."""

    loss_stages: tuple[str, ...] = (NOT_PROBED, PRUNED, QUANTISED)
    smallest = MappingProxyType({**Searcher.smallest, "index.build_max_memory": "256M"})

    @property
    def nbits(self) -> int:
        """Bits for each dimension of a token."""
        return self.config.nbits

    @property
    def n_centroids(self) -> int | None:
        """Centroids of the config; None where the index chooses."""
        return self.config.n_centroids

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of all that the index depends on."""
        from colmodern.pipeline.searchers.plaid_index import index_key  # loads numba

        return index_key(documents, self.config)

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> Path | None:
        """Build the index, or check the one that an earlier call built."""
        exact = ", or search exactly: index.kind=exact"
        check_address_space(COMPILED_SEARCH, "a compressed index", cure=exact)
        from colmodern.pipeline.searchers.plaid_index import build_once  # loads numba

        folder = workspace.folder("index", PlaidSearcher.preparation_key(self, documents))
        built = build_once(folder, documents, self.config, workspace.progress)
        record_build(workspace, "build index", folder, built, documents.n_tokens, "tokens")
        return folder

    def cache_key(self, prepared: Path | None) -> list[object]:
        """The index by the name of its folder, and the settings of a search."""
        config, folder = self.config, prepared_folder(prepared)
        settings = [folder.name, config.nprobe, config.n_candidates, config.rescore]
        return ["plaid", [*settings, *elsewhere(self.device)]]

    def open(
        self, documents: EmbeddingStore, queries: EmbeddingStore, prepared: Path | None, k: int
    ) -> QuerySearch:
        """The index after a search of each width, which compiles."""
        from colmodern.pipeline.searchers.plaid_index import compile_searches  # loads numba

        index = self.ranked(self.load_searched(prepared))
        options: dict[str, Any] = {
            "nprobe": self.config.nprobe,
            "n_candidates": self.config.n_candidates,
            "rescore": documents if self.config.rescore else None,
        }
        # not the store, which names the settings of the documents when the queries were encoded
        in_memory = queries.to_memory()
        compile_searches(index, in_memory, k, **options)
        search = IndexSearch(index, in_memory, k, options)
        return search.with_filters(self.filters, queries.doc_ids)

    def explain_losses(
        self,
        lost: Sequence[LostDoc],
        queries: EmbeddingStore,
        prepared: Path | None,
        k: int,
        progress: Progress,
    ) -> list[Loss]:
        """One search for each lost document that is not among the results.

        A GPU probes all centroids, so none is lost there.
        """
        if not lost:
            return []
        searched = self.load_explained(prepared)
        embeddings = queries.to_memory()
        is_cuda = self.device.startswith("cuda")
        nprobe = searched.info()["centroids"] if is_cuda else self.config.nprobe
        positions = {query_id: position for position, query_id in enumerate(queries.doc_ids)}
        progress.start("explain losses", len(lost), unit="documents")
        losses = []
        for document in lost:
            if self.passages == "sum":
                reason = "every passage is a candidate; the sum of their compressed scores is lower"
                loss = Loss(document, QUANTISED, reason)
            elif document.rank is not None:
                reason = f"result {document.rank}, by the scores of compressed tokens"
                loss = Loss(document, QUANTISED, reason)
            else:
                query = embeddings[positions[document.query_id]]
                budget: dict[str, Any] = {
                    "nprobe": nprobe,
                    "n_candidates": self.config.n_candidates,
                }
                explanation = searched.explain(query, document.doc_id, k, **budget)
                cause = _CAUSES[explanation.lost_by or Stage.SCORE]
                loss = Loss(document, cause, explanation.reason)
            losses.append(loss)
            progress.advance(1)
        progress.finish()
        return losses

    def index_folder(self, prepared: Path | None) -> Path | None:
        """The index itself."""
        return prepared_folder(prepared)

    def facts(self, documents: EmbeddingStore, prepared: Path | None) -> dict[str, Any]:
        """Sizes of the index."""
        from colmodern.pipeline.searchers.plaid_index import describe_index  # loads numba

        return {"index": describe_index(prepared_folder(prepared))}

    def searched_bytes(self, documents: EmbeddingStore, prepared: Path | None) -> int:
        """Bytes of the index, and of the embeddings where they rescore."""
        size: int = self.facts(documents, prepared)["index"]["bytes"]["total"]
        return size + (documents.n_bytes if self.config.rescore else 0)

    def memory(self, work: Workload) -> dict[str, float]:
        """The build, the search, and exact search beside it."""
        stages: dict[str, float] = {
            "build index": _LIBRARIES + self._build_bytes(work),
            "search": _LIBRARIES + work.result_bytes + work.query_bytes,
        }
        if self.config.compare_with_exact:
            stages["exact search"] = work.exact_bytes(self.config.exact_max_memory)
        return stages

    def ceilings(self, work: Workload) -> dict[str, float]:
        """Those of the build and of exact search."""
        return {"index.build_max_memory": _LIBRARIES, **super().ceilings(work)}

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """Build and search two small indexes."""
        truth = ExactSearcher(compared_with(self.config), encoder.device)
        pair = seconds_of_pair(documents, queries, truth.devices)
        check_address_space(COMPILED_SEARCH, "a compressed index")
        progress.note("building two small indexes, for the time that they take")
        builds = [self._time_build(documents, n, queries, k) for n in _BUILT_TOKENS]
        (first, fewer, _), (second, more, searched) = builds

        def seconds(sample: Sample) -> Mapping[str, Total]:
            tokens = sample.tokens
            slope = max(0.0, second - first) / (more - fewer)
            # candidates grow slower than the corpus: as a power of its documents
            growth = max(1.0, tokens.value / more) ** 0.4
            stages = {
                "build index": Total(*(max(first, second + slope * (n - more)) for n in tokens)),
                "search": Total(*(searched * sample.n_queries * growth,) * 3),
            }
            if self.config.compare_with_exact:
                stages |= exact_seconds("exact search", pair, sample)
            return stages

        return seconds

    def load_explained(self, prepared: Path | None) -> PlaidIndex | ShardedIndex:
        """The index, for explanations of documents that it loses."""
        from colmodern.index.plaid.index import PlaidIndex  # loads numba

        return PlaidIndex.load(prepared_folder(prepared))

    def load_searched(self, prepared: Path | None) -> PlaidIndex | ShardedIndex:
        """The index that queries search."""
        return self.load(prepared_folder(prepared))

    def load(self, folder: Path) -> PlaidIndex:
        """The index in a folder, where the config searches it."""
        from colmodern.index.plaid.index import PlaidIndex  # loads numba

        return PlaidIndex.load(
            folder,
            device=self.device,
            device_max_memory=self.config.device_max_memory,
            while_compiling="wait",
        )

    def _build_bytes(self, work: Workload) -> int:
        """The largest step of a build: its sample, its fitting, or a chunk that is compressed."""
        from colmodern.index.plaid.write.settings import settle  # loads faiss

        config, tokens = self.config, max(1, int(work.sample.tokens.high))
        max_memory = parse_bytes(config.build_max_memory, name="index.build_max_memory")
        settings = settle(
            tokens,
            work.dim,
            n_docs=work.sample.n_docs,
            nbits=config.nbits,
            codec=config.codec,
            n_centroids=config.n_centroids,
            seed=config.seed,
            max_memory=max_memory,
        )
        row = work.token_bytes
        return max(
            min(min(tokens, settings.n_sampled) * (2 * row + 64), max_memory),
            min(tokens, settings.n_fitted) * (7 * row + 64),
            min(tokens, settings.piece_tokens) * 4 * row,
        )

    def _time_build(
        self, documents: TokenEmbeddings, n_tokens: int, queries: TokenEmbeddings, k: int
    ) -> tuple[float, int, float]:
        """Seconds and tokens of building an index of so many tokens; seconds of a query on it."""
        from colmodern.index.plaid.index import PlaidIndex  # loads numba
        from colmodern.pipeline.searchers.plaid_index import compile_searches

        config, many = self.config, _repeated(documents, n_tokens)
        with tempfile.TemporaryDirectory(prefix="colmodern-plan-") as name:
            folder = Path(name) / "index"
            build = _timed(
                lambda: PlaidIndex.build(
                    many,
                    folder,
                    nbits=config.nbits,
                    codec=config.codec,
                    seed=config.seed,
                    max_memory=config.build_max_memory,
                    device=self.device,
                )
            )
            index = PlaidIndex.load(folder, device=self.device)
            compile_searches(index, queries, k)
            search = _timed(lambda: index.search_batch(queries, k)) / len(queries)
        return build, many.n_tokens, search


def _repeated(documents: TokenEmbeddings, n_tokens: int) -> TokenEmbeddings:
    """The documents again and again until there are so many tokens, a little different each time."""
    times = -(-n_tokens // documents.n_tokens)
    values = np.tile(documents.values, (times, 1)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(values.shape, np.float32)
    values += noise * np.float32(0.3 / np.sqrt(documents.dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    ids = None if documents.token_ids is None else np.tile(documents.token_ids, times)
    return TokenEmbeddings(values, offsets_of(np.tile(documents.lengths, times)), ids)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
