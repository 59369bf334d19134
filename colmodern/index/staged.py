"""Searches made of other searches: several indexes fused, and MaxSim over the results of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy.typing as npt

from colmodern.arguments import checked_count, expect_choice, listed
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.fusion import RRF_K, Fusion, Joiner
from colmodern.index.base import Index, TextIndex, closed_error
from colmodern.index.exact.index import ExactIndex
from colmodern.index.passages import PassageIndex
from colmodern.partial import batch_of, joined, report_of, with_report
from colmodern.passages import document_and_number
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, PassageRank, Results, ScoredDoc

if TYPE_CHECKING:
    from colmodern.index.plaid.index import PlaidIndex  # loads numba

CANDIDATES = 1000  # first documents of an index that are reranked
FUSED = 200  # and those that are fused: more take longer, and move little


class HybridIndex:
    """Several indexes of the same documents, whose results for a query are fused.

    A query is a text and its embeddings, of which each index takes what it searches with; another
    HybridIndex or a RerankIndex takes both. The indexes stay the caller's: closing this one closes
    none of them.

    Args:
        indexes: Name -> index, at least two: BM25Index, PlaidIndex, ExactIndex, or what meets their
            protocols; also RerankIndex and HybridIndex.
        fusion: As in ``fuse``, like the arguments that follow.
        weights: As in ``fuse``, in the order of the indexes.
        rrf_k: As in ``fuse``.
        depth: First documents of each index that are fused.

    Raises:
        InputError: There are fewer than two indexes, or an argument is unusable.
    """

    def __init__(
        self,
        indexes: Mapping[str, AnyIndex],
        *,
        fusion: Fusion = "rrf",
        weights: Sequence[float] | None = None,
        rrf_k: int = RRF_K,
        depth: int = FUSED,
    ) -> None:
        if not isinstance(indexes, Mapping) or len(indexes) < 2:
            raise InputError(
                f"indexes={shown(indexes)}; pass a mapping of at least two, as "
                '{"bm25": bm25_index, "plaid": plaid_index}'
            )
        for name, index in indexes.items():
            _expect_index(f"indexes[{name!r}]", index)
        self._indexes: dict[str, AnyIndex] | None = dict(indexes)
        self._joiner = Joiner(len(indexes), fusion=fusion, weights=weights, rrf_k=rrf_k)
        self.depth = checked_count("depth", depth)

    def __repr__(self) -> str:
        if self._indexes is None:
            return "HybridIndex(closed)"
        return f"HybridIndex({list(self._indexes)}, fusion={self._joiner.fusion!r}, depth={self.depth})"

    def search(self, text: str, query: npt.ArrayLike, k: int = 10) -> Results[ScoredDoc]:
        """The best ``k`` documents for one query, best first.

        Args:
            text: The query's text.
            query: Its (n_query_tokens, dim) embeddings.
            k: Number of documents, at most; ties go to the smaller doc_id.

        Returns:
            The best documents with their fused scores. Where shards are missing, the results are not
            ``is_complete`` and say so in ``shards``.

        Raises:
            InputError: As from the indexes.
        """
        k = checked_count("k", k)
        rankings = [_ask(index, text, query, self.depth) for index in self._open.values()]
        return self._fused(rankings, k)

    def search_batch(
        self,
        texts: Iterable[str],
        queries: TokenEmbeddings,
        k: int = 10,
        *,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            texts: Texts of the queries.
            queries: Their embeddings, as an encoder returns them.
            k: Number of documents of each query, at most.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: There are not as many texts as queries, or as from the indexes.
        """
        k, steps = checked_count("k", k), as_progress(progress)
        own_texts = _texts_of(texts, queries)
        runs: list[Sequence[Sequence[ScoredDoc]]] = []
        for index in self._open.values():
            runs.append(_ask_all(index, own_texts, queries, self.depth, steps))
        return batch_of(self._fused(rankings, k) for rankings in zip(*runs, strict=True))

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            How results are fused, and what each index says of itself.
        """
        joiner = self._joiner
        return {
            "fusion": joiner.fusion,
            "weights": list(joiner.weights),
            "rrf_k": joiner.rrf_k,
            "depth": self.depth,
            "indexes": {name: index.info() for name, index in self._open.items()},
        }

    def close(self) -> None:
        """Let go of the indexes, which stay open; this one cannot be used afterwards."""
        self._indexes = None

    def _fused(self, rankings: Sequence[Sequence[ScoredDoc]], k: int) -> Results[ScoredDoc]:
        """The best ``k`` of the rankings of all indexes, in their order."""
        reports = [report_of(own, name) for name, own in zip(self._open, rankings, strict=True)]
        return with_report(self._joiner(rankings, k), joined(reports))

    @property
    def _open(self) -> dict[str, AnyIndex]:
        if self._indexes is None:
            raise closed_error()
        return self._indexes


class RerankIndex:
    """Exact MaxSim over the first documents that another index finds.

    Args:
        first: The index that finds candidates, by the text or the embeddings of a query, or by both.
        embeddings: Embeddings of the documents, at least of all candidates.
        doc_ids: (n_docs,) ids of the embeddings; default those of a store.
        depth: Candidates of each query.
        passages: "best" or "sum" where the embeddings are of passages, with the ids that
            ``encode_passages`` gives: how they rank the candidates, which are documents.
        **options: Further arguments of ExactIndex, as ``device="cuda"``.

    Raises:
        InputError: An argument is unusable.
    """

    def __init__(
        self,
        first: AnyIndex,
        embeddings: TokenEmbeddings | EmbeddingStore,
        doc_ids: Sequence[str] | None = None,
        *,
        depth: int = CANDIDATES,
        passages: PassageRank | None = None,
        **options: Any,
    ) -> None:
        _expect_index("first", first)
        if passages is not None:
            expect_choice("passages", passages, get_args(PassageRank))
        if doc_ids is None and isinstance(embeddings, EmbeddingStore):
            doc_ids = embeddings.doc_ids
        exact = ExactIndex(embeddings, doc_ids, **options)  # checks ids and options
        self._first, self._options = first, options
        self._embeddings = exact.embeddings
        self._ids, self._passages = exact.doc_ids, passages
        self._rows: dict[str, list[int]] = {}  # one for each passage
        for row, doc_id in enumerate(exact.doc_ids):
            name = doc_id if passages is None else document_and_number(doc_id)[0]
            self._rows.setdefault(name, []).append(row)
        self.depth = checked_count("depth", depth)

    def __repr__(self) -> str:
        return f"RerankIndex({self._first!r}, depth={self.depth})"

    def search(self, text: str, query: npt.ArrayLike, k: int = 10) -> Results[ScoredDoc]:
        """The best ``k`` candidates for one query, best first.

        Args:
            text: The query's text.
            query: Its (n_query_tokens, dim) embeddings.
            k: Number of documents, at most; ties go to the smaller doc_id.

        Returns:
            The best candidates by MaxSim. Candidates without embeddings are left out. Where shards
            of the first index are missing, the results are not ``is_complete``.

        Raises:
            InputError: As from the first index and ExactIndex.
        """
        k = checked_count("k", k)
        candidates = _ask(self._first, text, query, self.depth)
        return with_report(self._best(candidates, query, k), report_of(candidates))

    def _best(
        self, candidates: Sequence[ScoredDoc], query: npt.ArrayLike, k: int
    ) -> Results[ScoredDoc]:
        """The best ``k`` candidates by MaxSim."""
        rows = [row for doc_id, _ in candidates for row in self._rows.get(doc_id, ())]
        if not rows:
            return Results()
        ids = [self._ids[row] for row in rows]
        exact = ExactIndex(self._embeddings.select(rows), ids, **self._options)
        if self._passages is None:
            return exact.search(query, k)
        return Results(PassageIndex(exact, self._passages).search(query, k))

    def search_batch(
        self,
        texts: Iterable[str],
        queries: TokenEmbeddings,
        k: int = 10,
        *,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` candidates of each query, in the order of the queries.

        Args:
            texts: Texts of the queries.
            queries: Their embeddings, as an encoder returns them.
            k: Number of documents of each query, at most.
            progress: True for a bar on stderr, or an object that receives the steps.

        Returns:
            One list a query, best first.

        Raises:
            InputError: There are not as many texts as queries, or as from ``search``.
        """
        steps, own_texts = as_progress(progress), _texts_of(texts, queries)
        steps.start("search", len(own_texts), unit="queries")
        results = []
        for text, query in zip(own_texts, queries, strict=True):
            results.append(self.search(text, query, k))
            steps.advance(1)
        steps.finish()
        return batch_of(results)

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            Documents with embeddings, the depth, and what the first index says of itself.
        """
        return {"documents": len(self._rows), "depth": self.depth, "first": self._first.info()}


class CompressedRerank(RerankIndex):
    """MaxSim over the first documents that another index finds, with their compressed tokens.

    Args:
        first: As in RerankIndex.
        index: The compressed index of the documents, or of their passages.
        depth: Candidates of each query.
    """

    def __init__(
        self, first: AnyIndex, index: PlaidIndex | PassageIndex, *, depth: int = CANDIDATES
    ) -> None:
        self._first, self._index = first, index
        self.depth = checked_count("depth", depth)

    def info(self) -> dict[str, Any]:
        """Describe the index; see RerankIndex."""
        documents = self._index.n_docs
        return {"documents": documents, "depth": self.depth, "first": self._first.info()}

    def _best(
        self, candidates: Sequence[ScoredDoc], query: npt.ArrayLike, k: int
    ) -> Results[ScoredDoc]:
        known = [doc_id for doc_id, _ in candidates if doc_id in self._index]
        return best_compressed(self._index, known, query, k)


def best_compressed(
    index: PlaidIndex | PassageIndex, doc_ids: Sequence[str], query: npt.ArrayLike, k: int
) -> Results[ScoredDoc]:
    """The best ``k`` of some documents by MaxSim with all of their compressed tokens.

    Args:
        index: The compressed index of the documents, or of their passages.
        doc_ids: Documents of the index.
        query: (n_query_tokens, dim) embeddings.
        k: Number of documents, at most.
    """
    if not doc_ids:
        return Results()
    scored = index.passages_of(doc_ids) if isinstance(index, PassageIndex) else doc_ids
    options: dict[str, Any] = {"n_candidates": max(k, len(scored)), "exact": True}
    return Results(index.search(query, k, filter=doc_ids, **options))


AnyIndex = Index | TextIndex | HybridIndex | RerankIndex


def _takes_text(index: AnyIndex) -> bool:
    """Whether an index is searched with texts: those of embeddings have a dim."""
    return not hasattr(type(index), "dim")


def _ask(index: AnyIndex, text: str, query: npt.ArrayLike, k: int) -> Sequence[ScoredDoc]:
    """The best documents of an index for a query, by what the index takes."""
    if isinstance(index, HybridIndex | RerankIndex):
        return index.search(text, query, k)
    return index.search(text if _takes_text(index) else query, k)  # type: ignore[arg-type]


def _ask_all(
    index: AnyIndex, texts: list[str], queries: TokenEmbeddings, k: int, progress: Progress
) -> Sequence[Sequence[ScoredDoc]]:
    """As ``_ask``, for each query."""
    if isinstance(index, HybridIndex | RerankIndex):
        return index.search_batch(texts, queries, k, progress=progress)
    taken = texts if _takes_text(index) else queries
    return index.search_batch(taken, k, progress=progress)  # type: ignore[arg-type]


def _texts_of(texts: Iterable[str], queries: TokenEmbeddings) -> list[str]:
    listed_texts = listed("texts", texts, "pass the texts of the queries")
    if len(listed_texts) != len(queries):
        raise InputError(
            f"{len(listed_texts)} texts for {len(queries)} queries; pass the text of each query"
        )
    return listed_texts


def _expect_index(name: str, index: object) -> None:
    if not (hasattr(index, "search") and hasattr(index, "search_batch")):
        raise InputError(f"{name} is {shown(index)}; pass an index, as BM25Index or PlaidIndex")
