"""The records that packages exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol


class ScoredDoc(NamedTuple):
    """One line of a result list; lists are ordered best first, ties by ``doc_id``."""

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


Precision = Literal["float32", "int8"]  # precision of documents in exact search
# query_id -> results, best first
Run = Mapping[str, Sequence[ScoredDoc]]
# query_id -> doc_id -> relevance grade (0: judged and not relevant)
Qrels = Mapping[str, Mapping[str, int]]


class Corpus(Protocol):
    """Documents that can be read from the start as often as needed, never all held at once."""

    @property
    def fingerprint(self) -> str:
        """A digest that changes with any document's id, title or text."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Document]: ...


@dataclass(frozen=True)
class Dataset:
    """A test collection: documents, queries and relevance judgments."""

    name: str
    description: str  # what it is and where its judgments come from
    corpus: Corpus
    queries: Mapping[str, str]  # query_id -> text; only judged queries
    qrels: Qrels
    revision: str | None = None  # commit of the hub repository that it was fetched from
    # query_id -> number of its judged documents that the corpus lacks, where positive
    missing: Mapping[str, int] = field(default_factory=dict)
    n_queries_left_out: int = 0  # judged queries without text
