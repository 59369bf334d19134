"""Requests and answers of the paths of indexes."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from colmodern.index.spans import SpanSettings
from colmodern.service.embeddings import EmbeddedText, Rows
from colmodern.service.requests import Items, RequestBody, TimeoutMs
from colmodern.types import PassageRank

INDEX_PATH = "/v1/indexes/{name}"
_LARGEST = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
DocIds = Annotated[Items[str], Field(min_length=1)]
Filter = Annotated[
    Annotated[Items[str], Tag("ids")] | Annotated[dict[str, object], Tag("conditions")],
    Discriminator(
        lambda value: {list: "ids", dict: "conditions"}.get(type(value)),
        custom_error_type="filter",
        custom_error_message="give a list of ids, or an object of conditions on fields",
    ),
]
_CHARACTERS = "in code points, as Python counts them"


class SpansOptions(RequestBody):
    """How passages are made of the tokens that matched."""

    max_spans: int = Field(5, ge=1, le=1000, description="passages of a document, at most")
    min_share: float = Field(
        0.05, ge=0, le=1, description="least share of the score that a passage must contribute"
    )
    max_gap: int = Field(
        30, ge=0, le=_LARGEST, description="characters between two matches of one passage, at most"
    )
    max_length: int = Field(240, ge=1, le=_LARGEST, description="characters of a passage, at most")

    def settings(self) -> SpanSettings:
        """The same as the library takes them."""
        return SpanSettings(**self.model_dump())


class SearchOptions(RequestBody):
    """What a search looks for, and how hard."""

    k: Count = Field(10, description="documents of each query, at most")
    nprobe: Count | None = Field(
        None, description="centroids probed for each query token; null: as the index needs it"
    )
    n_candidates: Count | None = Field(
        None, description="documents scored with their compressed tokens; null likewise"
    )


class SearchRequest(SearchOptions):
    """Queries, as texts or as embeddings."""

    queries: str | DocIds | None = Field(None, description="one text, or several")
    embeddings: Annotated[Items[Rows | EmbeddedText], Field(min_length=1)] | None = Field(
        None,
        description="token embeddings in place of queries: for each query rows of numbers, or "
        "base64 with its shape",
    )
    fingerprint: str | None = Field(
        None,
        description="fingerprint of embeddings as POST /v1/encode gives it; an index of another "
        "model refuses them",
    )
    filter: Filter | None = Field(
        None,
        description="the documents that may be returned: their ids, or conditions on their fields "
        'such as {"year": {"gte": 2020}}; null: all',
    )
    rescore: bool = Field(
        False,
        description="encode the texts of the k results again and order them by exact MaxSim, "
        "without the compression of the index; a collection only",
    )
    offset: Annotated[int, Field(ge=0, strict=True)] = Field(
        0, description="results to leave out before the first, for the next page"
    )
    group_by: str | None = Field(
        None,
        description="a field of which each value is among the results once, with its best document",
    )
    exact: bool = Field(
        False, description="score the last candidates with all of their compressed tokens"
    )
    spans: bool | SpansOptions | None = Field(
        None,
        description="whether to show the passages that matched, or how they are made; null: where "
        "the index can",
    )
    texts: bool = Field(True, description="whether to return texts, titles and fields")
    timeout_ms: TimeoutMs = None

    @model_validator(mode="after")
    def _has_queries_once(self) -> SearchRequest:
        if (self.queries is None) == (self.embeddings is None):
            raise ValueError("give queries, or embeddings")
        if self.fingerprint is not None and self.embeddings is None:
            raise ValueError("fingerprint is that of embeddings; leave it out for texts")
        if self.rescore and (self.offset or self.group_by is not None):
            raise ValueError("rescore orders the first k results; leave offset and group_by out")
        return self

    @property
    def query_texts(self) -> list[str] | None:
        """The queries as a list; None where there are embeddings."""
        return [self.queries] if isinstance(self.queries, str) else self.queries

    @property
    def search_key(self) -> str:
        """Equal for searches that differ in their queries alone."""
        # not model_dump_json, which refuses halves of surrogate pairs
        return json.dumps(self.model_dump(exclude={"queries", "timeout_ms"}))

    @property
    def n_queries(self) -> int:
        """Number of queries, texts or embeddings."""
        return len(self.query_texts or self.embeddings or ())

    @property
    def span_settings(self) -> bool | SpanSettings | None:
        """The passages that are wanted, as the library takes them."""
        return self.spans.settings() if isinstance(self.spans, SpansOptions) else self.spans


class ExplainRequest(SearchOptions):
    """A query and a document to follow through a search for it."""

    query: str = Field(description="the query's text")
    doc_id: str = Field(description="id of the document")
    timeout_ms: TimeoutMs = None


class DocumentRecord(RequestBody):
    """A document: with a text, or, for an index of embeddings alone, with embeddings."""

    id: str = Field(min_length=1, description="its id")
    text: str | None = Field(None, description="its text")
    title: str = Field("", description="its title, which the model reads before the text")
    fields: dict[str, Any] = Field(
        {},
        description="whatever else belongs to it; a collection keeps it as it is, and an index of "
        "embeddings alone for filters and groups",
    )
    embedding: Rows | EmbeddedText | None = Field(
        None, description="its token embeddings in place of a text: rows of numbers, or base64"
    )


class PutRequest(RequestBody):
    """Documents to add, in place of those with the same ids."""

    documents: Annotated[Items[DocumentRecord], Field(min_length=1)]
    fingerprint: str | None = Field(None, description="fingerprint of embeddings, as for a search")
    replace: bool = Field(
        True,
        description="whether documents with the same ids are replaced; false: where one is there, "
        "none is added",
    )
    timeout_ms: TimeoutMs = None


class DeleteRequest(RequestBody):
    """Documents to delete."""

    ids: DocIds = Field(description="their ids; where one is not there, none is deleted")
    timeout_ms: TimeoutMs = None


class SpanAnswer(BaseModel):
    """A passage that matched."""

    start: int = Field(description=f"first character, {_CHARACTERS}")
    end: int = Field(description="after the last character")
    score: float = Field(description="what the passage contributes to the score")


class PassageAnswer(BaseModel):
    """The passage of a document that scores best."""

    number: int = Field(description="its place in the document, from 0")
    start: int | None = Field(
        description=f"first character in text, {_CHARACTERS}; null where the collection keeps none"
    )
    end: int | None = Field(description="after the last character; null likewise")


class HitAnswer(BaseModel):
    """A result."""

    id: str
    rank: int = Field(description="from 1")
    score: float = Field(description="MaxSim, the sum over query tokens; higher is better")
    group: bool | int | float | str | None = Field(
        None, description="value of the field group_by; absent without"
    )
    passage: PassageAnswer | None = Field(
        None,
        description="the best passage, in a collection that ranks documents by passages; absent in others",
    )
    title: str | None = Field(None, description="absent without texts")
    text: str | None = Field(None, description="absent without texts")
    fields: dict[str, Any] | None = Field(None, description="absent without texts")
    spans: list[SpanAnswer] | None = Field(
        None,
        description="passages of text that matched; of an index without texts, of the text that was "
        "encoded; absent where none were asked for",
    )
    title_spans: list[SpanAnswer] | None = Field(None, description="passages of title likewise")


class HitsAnswer(BaseModel):
    """The results of one query, best first."""

    hits: list[HitAnswer]


class SearchAnswer(BaseModel):
    """Results of all queries, in their order."""

    results: list[HitsAnswer]
    index_version: str = Field(description="digest of the index that was searched")
    is_complete: bool = Field(True, description="whether all of the index was searched")
    missing: dict[str, str] = Field(
        {}, description="shards that did not answer, and why; left out of a complete answer"
    )
    took_ms: dict[str, float] = Field(description="milliseconds in queue, encode and search")


class LookupRequest(RequestBody):
    """Ids that may be those of documents."""

    ids: DocIds = Field(description="ids of documents")
    timeout_ms: TimeoutMs = None


class LookupAnswer(BaseModel):
    """The documents of an index among those that were asked for."""

    ids: list[str] = Field(description="the ids that the index has, in the order of the request")
    index_version: str = Field(description="digest of the index")


class ChangeAnswer(BaseModel):
    """What a change made of an index; searches that begin now see it."""

    changed: int = Field(description="documents that were added, replaced or deleted")
    documents: int = Field(description="documents of the index now")
    index_version: str = Field(description="digest of the index now")
    took_ms: dict[str, float] = Field(description="milliseconds in queue, encode and write")


class DocumentAnswer(BaseModel):
    """A document of an index."""

    id: str
    title: str | None = Field(description="null for an index of embeddings alone")
    text: str | None = Field(description="null likewise")
    fields: dict[str, Any] | None = Field(description="null likewise")
    index_version: str


class IndexSummary(BaseModel):
    """An index that is served."""

    name: str
    kind: Literal["collection", "index"] = Field(description="collection: with texts")
    documents: int
    index_version: str
    is_complete: bool = Field(
        description="whether documents and index_version are of all shards; of one that does not answer, "
        "nothing is counted"
    )
    dim: int = Field(description="width of a token embedding")
    takes_texts: bool = Field(
        description="whether queries and documents may be texts: the server's model is the index's"
    )
    spans: bool = Field(description="whether searches can show the passages that matched")
    passages: PassageRank | None = Field(
        description="how the collection ranks documents by their passages; null where documents are whole"
    )
    read_only: bool


class IndexesAnswer(BaseModel):
    """All indexes of the server."""

    indexes: list[IndexSummary]


class IndexAnswer(IndexSummary):
    """An index with its settings and sizes."""

    fault: str | None = Field(description="why a change of another process could not be read")
    model: str | None = Field(description="model of its documents, null when unknown")
    encoder_settings: dict[str, object] | None
    index_settings: dict[str, Any]
    codec_sha256: str | None = Field(
        description="digest of what compresses tokens: scores of indexes compare where it is the same; "
        "null where there is none, or several"
    )
    fields: dict[str, str] = Field(
        description="fields that searches can filter by, with the kinds of their values"
    )
    deleted: int = Field(description="deleted documents whose space is not free yet")
    tokens: int
    segments: int
    centroids: int
    bytes: dict[str, int] = Field(description="bytes on disk, by kind of file")
    bytes_per_token: dict[str, float]


class StageAnswer(BaseModel):
    """A document in one stage of a search."""

    stage: str
    documents: int = Field(description="documents that reached the stage")
    rank: int | None = Field(
        description="the document's rank among them, null when it was not there"
    )
    score: float | None


class HeatMapAnswer(BaseModel):
    """Similarities of tokens; of a long document, around those that query tokens match best."""

    query_words: list[str]
    positions: list[int] = Field(description="tokens of the document that are shown, in order")
    document_words: list[str]
    similarities: list[list[float]] = Field(description="a row for each query token")
    matches: list[int] = Field(description="for each query token the column of its best match")
    n_document_tokens: int


class ExplanationAnswer(BaseModel):
    """The fate of one document in a search."""

    doc_id: str
    passage_id: str | None = Field(
        description="the document's best passage, whose ranks and tokens follow, in a collection that "
        "ranks documents by passages; null in others"
    )
    is_result: bool = Field(description="whether it is among the k results")
    lost_at: str | None = Field(description="the first stage that it did not reach")
    lost_by: str | None = Field(description="the stage whose scores lost it")
    reason: str = Field(description="the same in words, with a cure")
    score: float = Field(description="MaxSim with all of its compressed tokens")
    stages: list[StageAnswer]
    alignment: list[dict[str, object]] = Field(
        description="for each query token its word, the document token that it matches best, that "
        "one's word and characters in encoded_text, and their similarity"
    )
    heat_map: HeatMapAnswer | None
    title: str | None = Field(description="null for an index of embeddings alone")
    text: str | None = Field(description="null likewise")
    encoded_text: str | None = Field(description="what the model read: title, separator and text")
    spans: list[SpanAnswer] = Field(description="passages of text that matched")
    title_spans: list[SpanAnswer]
    index_version: str
    took_ms: dict[str, float]
