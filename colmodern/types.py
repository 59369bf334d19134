"""The records that packages exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple, Protocol


class ScoredDoc(NamedTuple):
    """A document in a result list; lists are ordered best first, ties by ``doc_id``.

    Attributes:
        doc_id: Id of the document.
        score: Its score, higher is better.
    """

    doc_id: str
    score: float


class RankedDoc(NamedTuple):
    """A reranked document; ranks count from 1."""

    doc_id: str
    score: float
    rank: int


class Document(NamedTuple):
    """A document as the collection stores it, before titles are joined."""

    doc_id: str
    text: str
    title: str = ""


class Stage(str, Enum):
    """A stage of a search of a compressed index, in their order; the values are what users read.

    PROBE scores the centroids, GATHER adds up those of the probed lists for each document, PRUNE
    scores documents by the centroids of all their tokens, REFINE by their compressed tokens in
    integers, and SCORE in float32.
    """

    PROBE = "probed"
    GATHER = "gathered"
    PRUNE = "pruned"
    REFINE = "refined"
    SCORE = "scored"

    def __str__(self) -> str:
        return self.value


Precision = Literal["float32", "int8"]  # precision of documents in exact search
# query_id -> results, best first
Run = Mapping[str, Sequence[ScoredDoc]]
# query_id -> doc_id -> relevance grade (0: judged and not relevant)
Qrels = Mapping[str, Mapping[str, int]]


class Corpus(Protocol):
    """Documents that can be read from the start as often as needed, never all held at once."""

    @property
    def fingerprint(self) -> str:
        """Digest that changes with any document's id, title or text."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Document]: ...


@dataclass(frozen=True)
class Dataset:
    """A test collection: documents, queries and relevance judgments.

    Attributes:
        name: Name of the collection.
        description: Its content and the origin of its judgments.
        corpus: The documents.
        queries: query_id -> text of the judged queries.
        qrels: query_id -> doc_id -> relevance grade.
        revision: Commit of the hub repository that it was fetched from.
        missing: query_id -> number of its judged documents that the corpus lacks, where positive.
        n_queries_left_out: Number of judged queries without text.
    """

    name: str
    description: str
    corpus: Corpus
    queries: Mapping[str, str]
    qrels: Qrels
    revision: str | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    n_queries_left_out: int = 0
