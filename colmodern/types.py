"""The records that packages exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    SupportsIndex,
    TypeVar,
    overload,
)

from colmodern.notebook import html_view

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self

_IDS_SHOWN = 3  # in the repr of a data set


class ScoredDoc(NamedTuple):
    """A document in a result list; lists are ordered best first, ties by ``doc_id``.

    Attributes:
        doc_id: Id of the document.
        score: Its score, higher is better.
    """

    doc_id: str
    score: float


class RankedDoc(NamedTuple):
    """A reranked document.

    Attributes:
        doc_id: Id of the document.
        score: MaxSim with the query, higher is better.
        rank: Its rank, from 1.
    """

    doc_id: str
    score: float
    rank: int


class Span(NamedTuple):
    """Characters of a text that matched a query.

    Attributes:
        start: Index of the first character, in code points as Python counts them.
        end: Index after the last character.
        score: What these characters contribute to the document's score.
    """

    start: int
    end: int
    score: float


class Hit(ScoredDoc):
    """A result with the passages that matched; it unpacks and compares as a ScoredDoc does.

    Attributes:
        doc_id: Id of the document.
        score: Its score, higher is better.
        spans: The passages in the order of the text, which do not overlap.
    """

    spans: tuple[Span, ...] = ()

    def __new__(cls, doc_id: str, score: float, spans: Iterable[Span] = ()) -> Self:
        """Make a hit; spans: its passages."""
        hit = super().__new__(cls, doc_id, score)
        hit.spans = tuple(spans)
        return hit

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, spans={self.spans!r})"

    def _replace(self, **fields: Any) -> Hit:
        return type(self)(**{**self._asdict(), "spans": self.spans, **fields})


class GroupedHit(Hit):
    """The best document of a group; it unpacks and compares as a ScoredDoc does.

    Attributes:
        doc_id: Id of the document.
        score: Its score, higher is better.
        spans: As in Hit; empty where no passages were asked for.
        group: The value of the field by which results were grouped; None where it has none.
    """

    group: Scalar | None = None

    def __new__(
        cls,
        doc_id: str,
        score: float,
        spans: Iterable[Span] = (),
        *,
        group: Scalar | None = None,
    ) -> Self:
        """Make a hit; the arguments are its attributes."""
        hit = super().__new__(cls, doc_id, score, spans)
        hit.group = group
        return hit

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, group={self.group!r})"

    def _replace(self, **fields: Any) -> GroupedHit:
        more = {"spans": self.spans, "group": self.group}
        return type(self)(**{**self._asdict(), **more, **fields})


class RankedHit(RankedDoc):
    """A reranked document with the passages that matched; it unpacks as a RankedDoc does.

    Attributes:
        doc_id: Id of the document.
        score: MaxSim with the query, higher is better.
        rank: Its rank, from 1.
        spans: As in Hit.
    """

    spans: tuple[Span, ...] = ()

    def __new__(cls, doc_id: str, score: float, rank: int, spans: Iterable[Span] = ()) -> Self:
        """Make a hit; spans: its passages."""
        hit = super().__new__(cls, doc_id, score, rank)
        hit.spans = tuple(spans)
        return hit

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, spans={self.spans!r})"

    def _replace(self, **fields: Any) -> RankedHit:
        return type(self)(**{**self._asdict(), "spans": self.spans, **fields})


Result = TypeVar("Result", bound="ScoredDoc | RankedDoc")
Item = TypeVar("Item")


class _ShortList(list[Item]):
    """A list whose repr shows its first items, and says how many follow."""

    __slots__ = ()
    _shown = 10

    def __repr__(self) -> str:
        if len(self) <= self._shown:
            return super().__repr__()
        items = ", ".join(map(repr, list(self)[: self._shown]))
        return f"[{items}, ... {len(self) - self._shown:,} more]"


class Results(_ShortList[Result]):
    """Results of one query, best first: a list, which a notebook shows as a table."""

    __slots__ = ()

    @property
    def is_complete(self) -> bool:
        """Whether all documents of the index were searched; only shards may be missing."""
        return True

    @overload
    def __getitem__(self, key: SupportsIndex) -> Result: ...
    @overload
    def __getitem__(self, key: slice) -> Results[Result]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Result | Results[Result]:
        if isinstance(key, slice):
            return Results(super().__getitem__(key))
        return super().__getitem__(key)

    def _repr_html_(self) -> str:
        return html_view("results_html", self)


class BatchResults(_ShortList[list[Result]]):
    """Results of several queries, in their order: a list, which a notebook shows as a table."""

    __slots__ = ()
    _shown = 2

    @property
    def is_complete(self) -> bool:
        """Whether all documents were searched for every query."""
        return True

    def _repr_html_(self) -> str:
        return html_view("batch_html", self)


class Document(NamedTuple):
    """A document as the collection stores it, before titles are joined.

    Attributes:
        doc_id: Id of the document.
        text: Its text.
        title: Its title, empty where it has none.
    """

    doc_id: str
    text: str
    title: str = ""


class Stage(str, Enum):
    """A stage of a search of a compressed index, in their order; the values are what users read.

    Attributes:
        PROBE: Scores the centroids.
        GATHER: Adds up the scores of the probed lists for each document.
        PRUNE: Scores documents by the centroids of all their tokens.
        REFINE: Scores documents by their compressed tokens, in integers.
        SCORE: Scores the last candidates in float32.
    """

    PROBE = "probed"
    GATHER = "gathered"
    PRUNE = "pruned"
    REFINE = "refined"
    SCORE = "scored"

    def __str__(self) -> str:
        return self.value


class StageReport(NamedTuple):
    """A document in one stage of a search.

    Attributes:
        stage: The stage.
        n_seen: Documents that reached the stage.
        rank: The document's rank among them, from 1; None when it was not among them.
        score: The stage's score of it; None likewise.
    """

    stage: Stage
    n_seen: int
    rank: int | None
    score: float | None


class TokenMatch(NamedTuple):
    """The document token that a query token matches best, among the decoded ones.

    Attributes:
        query_token: Position of the query's token.
        doc_token: Position of the document's token.
        similarity: Dot product of the two.
    """

    query_token: int
    doc_token: int
    similarity: float


@dataclass(frozen=True, repr=False)
class Explanation:
    """The fate of one document in a search.

    Attributes:
        doc_id: Id of the document.
        is_result: Whether it is among the k results.
        lost_at: The first stage that it did not reach, or None.
        lost_by: The stage whose scores lost it, None for a result.
        reason: The same in words, with a cure.
        score: MaxSim with all its decoded tokens.
        stages: The document in each stage, in their order.
        alignment: For each query token the document token that it matches best.
        characters: For each match (start, end) in the text of every token that the document's token
            stands for: several where tokens were pooled, none for a token that covers nothing.
            Empty where the index does not keep them.
        spans: The passages that matched; none where the index does not keep characters of tokens.
        similarities: (n_query_tokens, n_doc_tokens) float32 dot products of all tokens.
        token_characters: As ``characters``, for each of the document's tokens.
        query_words: Text of each query token; empty where only embeddings are known.
        document_words: Text of each document token; likewise.
    """

    doc_id: str
    is_result: bool
    lost_at: Stage | None
    lost_by: Stage | None
    reason: str
    score: float
    stages: tuple[StageReport, ...]
    alignment: tuple[TokenMatch, ...]
    characters: tuple[tuple[tuple[int, int], ...], ...] = ()
    spans: tuple[Span, ...] = ()
    similarities: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    token_characters: tuple[tuple[tuple[int, int], ...], ...] = ()
    query_words: tuple[str, ...] = ()
    document_words: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Explanation({self.doc_id!r}, is_result={self.is_result}, score={self.score:.4f}, "
            f"reason={self.reason!r})"
        )

    def _repr_html_(self) -> str:
        return html_view("explanation_html", self)


Scalar = bool | int | float | str  # a value of a field
Precision = Literal["float32", "int8"]  # precision of documents in exact search
Score = Literal["sum", "mean"]  # MaxSim: summed over query tokens, or divided by their number
PassageRank = Literal["best", "sum"]  # a document's score: that of its best passage, or of all
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


@dataclass(frozen=True, repr=False)
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
        excluded: query_id -> documents that are never its results, as BRIGHT asks for.
        query_fields: query_id -> fields of its record beside id and text, where it has any.
        prompted: query_id -> the text that a model reads, where a template makes one.
    """

    name: str
    description: str
    corpus: Corpus
    queries: Mapping[str, str]
    qrels: Qrels
    revision: str | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    n_queries_left_out: int = 0
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)
    query_fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompted: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_queries(self) -> Mapping[str, str]:
        """query_id -> the text that a model reads: with its prompt, where there is one."""
        return self.prompted or self.queries

    def __repr__(self) -> str:
        ids = ", ".join(map(repr, list(self.queries)[:_IDS_SHOWN]))
        more = ", ..." if len(self.queries) > _IDS_SHOWN else ""
        n_judgments = sum(map(len, self.qrels.values()))
        return (
            f"Dataset({self.name!r}, n_docs={len(self.corpus)}, n_queries={len(self.queries)}, "
            f"n_judgments={n_judgments}, query_ids=[{ids}{more}])"
        )
