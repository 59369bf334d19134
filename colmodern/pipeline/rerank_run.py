"""Reranking a whole run without holding all its documents at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from colmodern.encoding.store import document_texts
from colmodern.errors import DataError, InputError
from colmodern.progress import Progress
from colmodern.rerank import Reranker
from colmodern.types import Corpus, Run, ScoredDoc

_DOCUMENTS_AT_ONCE = 2048  # embeddings of a group are in memory


def rerank_run(
    ranker: Reranker,
    corpus: Corpus,
    queries: Mapping[str, str],
    run: Run,
    depth: int | None = None,
    *,
    progress: Progress,
) -> dict[str, list[ScoredDoc]]:
    """The first ``depth`` candidates of every query (default: all), reordered by exact MaxSim.

    Candidates below these follow in their order, with scores below all others.

    Args:
        ranker: Scores the candidates.
        corpus: Holds the run's documents.
        queries: query_id -> text, at least of the run's queries.
        run: Candidates of every query, best first.
        depth: Candidates of each query that are scored; None: all.
        progress: Receives the queries that are reranked.

    Raises:
        DataError: The run names queries or documents that the collection lacks.
    """
    if depth is not None and depth < 1:
        raise InputError(f"depth={depth}; rerank at least 1 candidate per query")
    if unknown := [query_id for query_id in run if query_id not in queries]:
        raise DataError(
            f"the run has query {unknown[0]!r}, which the collection lacks "
            f"({len(unknown)} such queries); give the run of this collection"
        )
    candidates = {
        query_id: [doc_id for doc_id, _ in docs[:depth]] for query_id, docs in run.items()
    }
    wanted = {doc_id for doc_ids in candidates.values() for doc_id in doc_ids}
    pairs = document_texts(corpus, join_titles=True)
    texts = {doc_id: text for doc_id, text in pairs if doc_id in wanted}
    if missing := sorted(wanted - texts.keys()):
        raise DataError(
            f"the run has document {missing[0]!r}, which the collection lacks "
            f"({len(missing)} such documents); give the run of this collection"
        )
    progress.start("rerank", len(run), unit="queries")
    reranked: dict[str, list[ScoredDoc]] = {}
    for group in _groups(candidates):
        ranked = ranker.rank_batch(
            [queries[query_id] for query_id in group],
            [[(doc_id, texts[doc_id]) for doc_id in candidates[query_id]] for query_id in group],
        )
        for query_id, documents in zip(group, ranked, strict=True):
            scored = [ScoredDoc(doc_id, score) for doc_id, score, _ in documents]
            below = [doc_id for doc_id, _ in run[query_id][len(candidates[query_id]) :]]
            lowest = scored[-1].score if scored else 0.0
            reranked[query_id] = [
                *scored,
                *(ScoredDoc(doc_id, lowest - position) for position, doc_id in enumerate(below, 1)),
            ]
        progress.advance(len(group))
    progress.finish()
    return reranked


def _groups(candidates: dict[str, list[str]]) -> Iterator[list[str]]:
    """Queries whose candidates together are few enough, a query with more of them alone."""
    group: list[str] = []
    documents: set[str] = set()
    for query_id, doc_ids in candidates.items():
        if group and len(documents | set(doc_ids)) > _DOCUMENTS_AT_ONCE:
            yield group
            group, documents = [], set()
        group.append(query_id)
        documents |= set(doc_ids)
    if group:
        yield group
