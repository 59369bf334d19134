"""Documents that are ranked by their passages: in stores, finished searches, results and losses.

A finished search is kept as a run of each document's best passage, whose id names the document too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.evaluation.fidelity import LostDoc
from colmodern.passages import PassageHit, document_and_number, documents_of
from colmodern.pipeline.losses import Loss
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import PassageRank, ScoredDoc


def doc_ids_of(documents: EmbeddingStore) -> list[str]:
    """The ids of the documents of a store, each once where it has their passages."""
    return documents_of(documents.doc_ids) if documents.has_passages else documents.doc_ids


def rows_of_documents(documents: EmbeddingStore) -> dict[str, list[int]]:
    """doc_id -> positions in a store: one for a whole document, or one for each passage."""
    rows: dict[str, list[int]] = {}
    for row, doc_id in enumerate(documents.doc_ids):
        name = document_and_number(doc_id)[0] if documents.has_passages else doc_id
        rows.setdefault(name, []).append(row)
    return rows


def ranked_by_passages(index: Any, rank: PassageRank | None) -> Any:
    """An index of passages that ranks their documents; with None for ``rank`` the index as it is."""
    if rank is None:
        return index
    from colmodern.index.passages import PassageIndex  # loads torch

    return PassageIndex(index, rank)


def stored_id(documents: EmbeddingStore, doc_id: str, query: npt.NDArray[np.float32]) -> str:
    """The id that a document has in a store; in a store of passages, that of its best for a query.

    Raises InputError when the store has no such document.
    """
    from colmodern.index.exact.index import ExactIndex  # loads torch

    if not documents.has_passages:
        return doc_id
    rows = rows_of_documents(documents).get(doc_id)
    if rows is None:
        raise InputError(f"doc_id={shown(doc_id)} is not in {documents.folder}; check the id")
    ids = [documents.doc_ids[row] for row in rows]
    return ExactIndex(documents.select(rows), ids).search(query, 1)[0].doc_id


def best_passages(ranking: Iterable[ScoredDoc]) -> list[ScoredDoc]:
    """Each result by the id of its best passage; results without passages as they are."""
    return [
        ScoredDoc(result.passage_id, result.score) if isinstance(result, PassageHit) else result
        for result in ranking
    ]


def documents_of_passages(ranking: Iterable[ScoredDoc]) -> list[ScoredDoc]:
    """The documents of best passages, each with the number of its passage."""
    hits: list[ScoredDoc] = []
    for passage, score in ranking:
        doc_id, number = document_and_number(passage)
        hits.append(PassageHit(doc_id, score, passage=number))
    return hits


def lost_passages(
    lost: Iterable[LostDoc], exact: Mapping[str, Sequence[ScoredDoc]]
) -> list[LostDoc]:
    """Lost documents by the passages that exact search ranked them by; exact: its results."""
    return [
        document._replace(doc_id=passage.doc_id)
        for document in lost
        for passage in best_passages(exact[document.query_id])[document.exact_rank - 1 :][:1]
    ]


def losses_of_documents(losses: Iterable[Loss]) -> list[Loss]:
    """The losses of passages as those of their documents, with the passage in the reason."""
    documents = []
    for loss in losses:
        doc_id, number = document_and_number(loss.document.doc_id)
        lost = loss.document._replace(doc_id=doc_id)
        documents.append(Loss(lost, loss.stage, f"passage {number}: {loss.reason}"))
    return documents
