"""Documents ranked by an index of their passages: by the best of them, or by the sum of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_count, expect_choice
from colmodern.checks import shown
from colmodern.errors import InputError, UnavailableError
from colmodern.index.base import Index
from colmodern.index.exact.index import ExactIndex
from colmodern.index.filters import DocFilter, Filter, allowed_ids, count_unknown
from colmodern.index.inputs import query_batch, query_values
from colmodern.index.spans import SpanSettings, span_settings
from colmodern.partial import ShardsReport, batch_of, joined, report_of, with_report
from colmodern.passages import PassageHit, document_and_number, passage_id
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Hit, PassageRank, Results, ScoredDoc

_Rankings = Sequence[Sequence[ScoredDoc]]
# from positions of queries and a number of passages to their results
Ask = Callable[[Sequence[int], int], _Rankings]

_FIRST = 4  # passages that the first search asks for, for each document that is wanted
_MORE = 4  # times as many that each further search asks for
_MOST_RESULTS = 1 << 20  # results that are in memory at a time while sums are made of them


class _Documents(Protocol):
    """An index that knows its documents' ids."""

    @property
    def doc_ids(self) -> Sequence[str]: ...


class _DocumentScore(NamedTuple):
    """A document, its score and its best passage."""

    doc_id: str
    score: float
    passage: str


class PassageIndex:
    """Ranks documents by an index whose documents are passages.

    ``best`` gives a document the score of its best passage, and looks deeper into the ranking of
    passages until it has enough documents. ``sum`` adds up the scores of all passages of a document, so
    every passage is a candidate: an ExactIndex then gives the exact sums, a PlaidIndex the sums of the
    scores of compressed passages. A sum grows with the number of passages, which favours long documents.

    Ids are read when a PassageIndex is made: make another one after the index has changed.

    Args:
        index: An ExactIndex, PlaidIndex or ShardedIndex with the ids that ``encode_passages`` gives.
        rank: "best" or "sum".

    Raises:
        InputError: An id is not that of a passage, or the index is of another kind.
    """

    def __init__(self, index: Index, rank: PassageRank = "best") -> None:
        expect_choice("rank", rank, get_args(PassageRank))
        if not hasattr(index, "dim") or not hasattr(index, "doc_ids"):
            raise InputError(
                f"index is a {type(index).__name__}; pass an ExactIndex, PlaidIndex or ShardedIndex of "
                "passages"
            )
        self.index, self.rank = index, rank
        self._passages: dict[str, list[int]] = {}
        for passage in cast(_Documents, index).doc_ids:
            doc_id, number = document_and_number(passage)
            self._passages.setdefault(doc_id, []).append(number)

    def __repr__(self) -> str:
        return f"PassageIndex({self.index!r}, rank={self.rank!r}, n_docs={self.n_docs})"

    @property
    def n_docs(self) -> int:
        """Number of documents that a search can return."""
        return len(self._passages)

    @property
    def n_passages(self) -> int:
        """Number of passages of all documents."""
        return sum(map(len, self._passages.values()))

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return self.index.dim

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        return isinstance(doc_id, str) and doc_id in self._passages

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        **options: Any,
    ) -> Results[PassageHit]:
        """The best ``k`` documents for one query, best first.

        Args:
            query: (n_query_tokens, dim) embeddings, as the index takes them.
            k: Number of documents, at most. Ties go to the smaller doc_id.
            filter: Conditions on fields of passages, ids of allowed documents, a function of a
                document's id, or what ``filter`` made.
            spans: As the index takes it. The words that matched are those of the best passage, counted
                in the whole text; ``texts`` has whole texts by the documents' ids.
            offset: Documents to leave out before the first, for the next page.
            **options: Other options of the index's search. With ``sum``, ``n_candidates`` bounds the
                passages that are added up.

        Returns:
            The best documents, each with the number and the characters of its best passage. Where
            shards are missing, the results are not ``is_complete`` and say so in ``shards``.

        Raises:
            InputError: ``group_by`` is set, or a value is wrong for the index.
        """
        values = query_values(query, self.dim)
        queries = TokenEmbeddings(values, np.array([0, len(values)]))

        def ask(k: int, positions: Sequence[int], **options: object) -> _Rankings:
            search: Any = self.index.search
            return [search(values, k, **options)]

        page = checked_count("k", k), checked_count("offset", offset, least=0)
        return self._search(ask, queries, page, filter, span_settings(spans), options)[0]

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        filter: Filter | None = None,
        spans: bool | SpanSettings = False,
        offset: int = 0,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> BatchResults[PassageHit]:
        """The best ``k`` documents of each query, in the order of the queries.

        Args:
            queries: Embeddings as an encoder returns them.
            k: Number of documents of each query, at most.
            filter: As in ``search``, the same for all queries.
            spans: As in ``search``.
            offset: As in ``search``.
            progress: True for a bar on stderr, or an object that receives the steps.
            **options: As in ``search``.

        Returns:
            One list a query, best first.

        Raises:
            InputError: As from ``search``.
        """
        batch = query_batch(queries, self.dim)

        def ask(k: int, positions: Sequence[int], **options: object) -> _Rankings:
            search: Any = self.index.search_batch
            return search(batch.select(positions), k, progress=progress, **options)  # type: ignore[no-any-return]

        page = checked_count("k", k), checked_count("offset", offset, least=0)
        return batch_of(self._search(ask, batch, page, filter, span_settings(spans), options))

    def filter(self, allowed: Filter) -> DocFilter | Filter:
        """Make a filter for many searches.

        Args:
            allowed: As the argument ``filter`` of ``search``.

        Returns:
            What ``search`` takes as its filter, until the index changes.
        """
        of_passages = self._allowed(allowed)
        prepare = getattr(self.index, "filter", None)
        if prepare is None:
            return allowed
        made: DocFilter = prepare(of_passages)
        return made

    def passages_of(self, doc_ids: Iterable[str]) -> list[str]:
        """The ids of all passages that documents have in the index.

        Args:
            doc_ids: Ids of documents; those that the index lacks are skipped.

        Returns:
            Ids such as "manual#0", document by document.
        """
        return [
            passage_id(doc_id, number)
            for doc_id in doc_ids
            for number in self._passages.get(doc_id, ())
        ]

    def best_passage(self, query: npt.ArrayLike, doc_id: str) -> str:
        """The id of the passage of one document that scores best, by all of its tokens.

        Args:
            query: As in ``search``.
            doc_id: The document.

        Returns:
            The passage's id in the index, as "manual#12".

        Raises:
            InputError: There is no such document.
            UnavailableError: A shard with passages of it does not answer.
        """
        if doc_id not in self:
            raise InputError(f"doc_id={shown(doc_id)} is not in the index; check the id")
        best = self.search(query, 1, filter=[doc_id])
        if not best.is_complete:
            raise UnavailableError(
                f"shards with passages of {shown(doc_id)} do not answer; search again when they do"
            )
        return best[0].passage_id

    def info(self) -> dict[str, Any]:
        """Describe the index.

        Returns:
            What the index of passages says of itself, the numbers of documents and passages, and how
            documents are ranked.
        """
        ranked = {"documents": self.n_docs, "passages": self.n_passages, "rank": self.rank}
        return {**self.index.info(), **ranked}

    def close(self) -> None:
        """Close the index of passages itself."""
        self.index.close()

    def _search(
        self,
        ask: Callable[..., _Rankings],
        queries: TokenEmbeddings,
        page: tuple[int, int],
        filter: Filter | None,
        spans: SpanSettings | None,
        options: dict[str, Any],
    ) -> list[Results[PassageHit]]:
        """The results of each query; page: the number of documents, and of those left out before."""
        if options.pop("group_by", None) is not None:
            raise InputError("group_by: a PassageIndex groups by document; leave it out")
        k, offset = page
        n_open = self.index.n_docs
        reports: list[list[ShardsReport | None]] = [[] for _ in range(len(queries))]
        if filter is not None:
            options = {**options, "filter": self._allowed(filter)}
        n_candidates = options.pop("n_candidates", None)

        def noted(positions: Sequence[int], depth: int, **budget: int) -> _Rankings:
            answers = ask(depth, positions, **budget, **options)
            for position, answer in zip(positions, answers, strict=True):
                reports[position].append(report_of(answer))
            return answers

        if self.rank == "sum":
            if n_candidates is not None:
                n_open = min(n_open, max(n_candidates, offset + k))
            if not isinstance(self.index, ExactIndex):
                options = {"exact": True, **options, "n_candidates": n_open}
            ranked = _by_sum(noted, len(queries), n_open)
        else:

            def deeper(positions: Sequence[int], depth: int) -> _Rankings:
                budget = {} if n_candidates is None else {"n_candidates": max(n_candidates, depth)}
                return noted(positions, depth, **budget)

            ranked = _by_best(deeper, len(queries), n_open, offset + k)
        pages = [documents[offset : offset + k] for documents in ranked]
        return [
            self._hits(documents, query, spans, options, own)
            for documents, query, own in zip(pages, queries, reports, strict=True)
        ]

    def _hits(
        self,
        documents: Sequence[_DocumentScore],
        query: npt.NDArray[np.generic],
        settings: SpanSettings | None,
        options: Mapping[str, object],
        reports: Sequence[ShardsReport | None],
    ) -> Results[PassageHit]:
        """Results with the number and characters of each document's best passage."""
        matched: Results[Hit] = Results()
        if settings is not None and documents:
            if settings.texts is not None:
                settings = replace(settings, texts=_texts_of_passages(settings.texts))
            search: Any = self.index.search
            others = {name: value for name, value in options.items() if name != "n_candidates"}
            others["filter"] = [document.passage for document in documents]
            matched = search(query, len(documents), **others, spans=settings)
        spans_of = {hit.doc_id: hit.spans for hit in matched}  # a shard may be missing this time
        characters = getattr(self.index, "characters", lambda passage: None)
        hits = Results(
            PassageHit(
                document.doc_id,
                document.score,
                spans_of.get(document.passage, ()),
                passage=document_and_number(document.passage)[1],
                characters=characters(document.passage),
            )
            for document in documents
        )
        return with_report(hits, joined([*reports, report_of(matched)]))

    def _allowed(self, filter: Filter) -> Filter:
        """A filter of documents as one of passages; conditions on fields mean passages already."""
        if isinstance(filter, DocFilter | Mapping):
            return filter
        if callable(filter):
            is_allowed = filter
            return lambda passage: is_allowed(document_and_number(passage)[0])
        ids = allowed_ids(filter)
        is_known = np.array([doc_id in self._passages for doc_id in ids], np.bool_)
        count_unknown(ids, is_known, is_empty=not self._passages)
        return self.passages_of(ids)


def _by_best(ask: Ask, n_queries: int, n_passages: int, wanted: int) -> list[list[_DocumentScore]]:
    """Documents by their best passages, at least the ``wanted`` first of each query."""
    ranked: list[list[_DocumentScore]] = [[] for _ in range(n_queries)]
    waiting, depth = list(range(n_queries)), _FIRST * wanted
    while waiting and n_passages:
        depth = min(depth, n_passages)
        unfinished = []
        for position, passages in zip(waiting, ask(waiting, depth), strict=True):
            best = ranked[position] = _best_of_each(passages)
            # passages that tie with the last wanted document may be of one with a smaller id
            is_enough = len(best) >= wanted and passages[-1].score < best[wanted - 1].score
            if len(passages) == depth < n_passages and not is_enough:
                unfinished.append(position)
        waiting, depth = unfinished, _MORE * depth
    return ranked


def _by_sum(ask: Ask, n_queries: int, n_passages: int) -> list[list[_DocumentScore]]:
    """Documents by the sums of their passages, a few queries at a time."""
    ranked: list[list[_DocumentScore]] = []
    at_once = max(1, _MOST_RESULTS // max(1, n_passages))
    for start in range(0, n_queries if n_passages else 0, at_once):
        positions = range(start, min(start + at_once, n_queries))
        ranked += [_sum_of_each(passages) for passages in ask(positions, n_passages)]
    return ranked or [[] for _ in range(n_queries)]


def _best_of_each(passages: Iterable[ScoredDoc]) -> list[_DocumentScore]:
    """Each document with its first passage."""
    best: dict[str, _DocumentScore] = {}
    for passage, score in passages:
        doc_id = document_and_number(passage)[0]
        if doc_id not in best:
            best[doc_id] = _DocumentScore(doc_id, score, passage)
    return _in_order(best.values())


def _sum_of_each(passages: Iterable[ScoredDoc]) -> list[_DocumentScore]:
    """Each document with the sum of its passages; fsum gives the same sum in any order of them."""
    scores: dict[str, list[float]] = {}
    best: dict[str, str] = {}
    for passage, score in passages:
        doc_id = document_and_number(passage)[0]
        scores.setdefault(doc_id, []).append(score)
        best.setdefault(doc_id, passage)
    return _in_order(
        _DocumentScore(doc_id, math.fsum(scores[doc_id]), best[doc_id]) for doc_id in scores
    )


def _in_order(documents: Iterable[_DocumentScore]) -> list[_DocumentScore]:
    return sorted(documents, key=lambda document: (-document.score, document.doc_id))


def _texts_of_passages(texts: Any) -> Callable[[str], str]:
    """The whole text of a passage's document, by the passage's id."""
    text_of = texts if callable(texts) else texts.__getitem__
    return lambda passage: text_of(document_and_number(passage)[0])
