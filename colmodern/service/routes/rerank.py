"""Documents of a request in the order of a query, as clients of Cohere, Jina and vLLM ask for it."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from colmodern.index.spans import SpanSettings
from colmodern.service.context import Context, RequestContext
from colmodern.service.requests import Items, expect_text, expect_texts
from colmodern.service.rerank import RankedText, rank_texts
from colmodern.service.service import Service, ServiceState
from colmodern.types import Span

router = APIRouter(tags=["rerank"])
_MOST_SPANS = 1000


class DocumentText(BaseModel):
    """A document as an object; other fields are ignored."""

    text: str = Field(description="its text")


class SpansRequest(BaseModel):
    """A wish for the passages that matched."""

    mode: Literal["enabled", "disabled"] = Field(description="whether to show passages")
    threshold: float = Field(
        0.1, ge=0, le=1, allow_inf_nan=False, description="least score of a passage"
    )
    max_spans: int | None = Field(
        None, ge=1, description="passages of a document; null: all that reach the threshold"
    )


class RerankRequest(BaseModel):
    """A query and documents; fields that are not listed are ignored, as clients send their own."""

    model: str | None = Field(None, description="ignored: the server has one model")
    query: str = Field(description="the query")
    documents: Items[str | DocumentText] | None = Field(None, description="the documents")
    texts: Items[str] | None = Field(
        None, description="the documents, as text-embeddings-inference calls them"
    )
    top_n: int | None = Field(None, ge=1, description="documents to return; null: all")
    return_documents: bool = Field(False, description="whether to return their texts too")
    return_text: bool = Field(False, description="the same, beside texts")
    max_tokens_per_doc: int | None = Field(
        None,
        ge=1,
        description="tokens of a document, special ones included; longer ones are cut, also where the "
        "server would split them",
    )
    relevant_spans: SpansRequest | None = Field(
        None, description="the passages that matched; null: none"
    )

    @model_validator(mode="after")
    def _has_documents_once(self) -> RerankRequest:
        if (self.documents is None) == (self.texts is None):
            raise ValueError("give documents, or texts")
        return self

    @property
    def contents(self) -> list[str]:
        """The texts of the documents."""
        documents = self.documents if self.texts is None else self.texts
        return [text if isinstance(text, str) else text.text for text in documents or ()]

    @property
    def spans(self) -> SpansRequest | None:
        """The passages that are wanted, if any."""
        is_wanted = self.relevant_spans is not None and self.relevant_spans.mode == "enabled"
        return self.relevant_spans if is_wanted else None


class RelevantSpan(BaseModel):
    """A passage of a document, in code points of its text."""

    start: int = Field(description="index of its first character")
    end: int = Field(description="index after its last character")
    score: float = Field(description="what it contributes, as a share of a perfect match, 0 to 1")


class RerankedDocument(BaseModel):
    """A document in the new order."""

    index: int = Field(description="its position in the request")
    relevance_score: float = Field(
        description="0 to 1: the mean of its query tokens' similarities s as (s + 1) / 2"
    )
    score: float = Field(description="MaxSim: the sum of the query tokens' similarities")
    document: DocumentText | None = Field(None, description="where return_documents asks for it")
    relevant_spans: list[RelevantSpan] | None = Field(
        None, description="best first; where relevant_spans asks for them and there are some"
    )


class TextRank(BaseModel):
    """A document in the new order, as text-embeddings-inference returns it."""

    index: int = Field(description="its position in the request")
    score: float = Field(description="0 to 1, as relevance_score")
    text: str | None = Field(None, description="where return_text asks for it")


class Usage(BaseModel):
    """Tokens that the model read."""

    total_tokens: int


class RerankAnswer(BaseModel):
    """The documents, best first."""

    id: str = Field(description="id of the request")
    object: str = "rerank"
    model: str = Field(description="name of the model")
    results: list[RerankedDocument]
    usage: Usage
    meta: dict[str, Any] = Field(description="the same counts, as clients of Cohere read them")


@router.post("/v2/rerank", summary="Reorder documents", response_model_exclude_none=True)
async def rerank(body: RerankRequest, service: ServiceState, context: Context) -> RerankAnswer:
    """Order documents by their MaxSim with a query, and show the passages that matched."""
    ranked, n_tokens = await _ranked(body, service, context)
    contents = body.contents
    return RerankAnswer(
        id=context.request_id,
        model=service.model_name,
        results=[
            RerankedDocument(
                index=document.position,
                relevance_score=document.relevance,
                score=document.score,
                document=DocumentText(text=contents[document.position])
                if body.return_documents
                else None,
                relevant_spans=_shown(document.spans),
            )
            for document in ranked
        ],
        usage=Usage(total_tokens=n_tokens),
        meta={
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": n_tokens},
        },
    )


@router.post("/v1/rerank", summary="Reorder documents", response_model_exclude_none=True)
async def rerank_v1(body: RerankRequest, service: ServiceState, context: Context) -> RerankAnswer:
    """The same as /v2/rerank."""
    return await rerank(body, service, context)


@router.post("/rerank", summary="Reorder documents", response_model_exclude_none=True)
async def rerank_any(
    body: RerankRequest, service: ServiceState, context: Context
) -> RerankAnswer | list[TextRank]:
    """The same as /v2/rerank; with texts in place of documents the answer is a list."""
    if body.texts is None:
        return await rerank(body, service, context)
    ranked, _ = await _ranked(body, service, context)
    return [
        TextRank(
            index=document.position,
            score=document.relevance,
            text=body.texts[document.position] if body.return_text else None,
        )
        for document in ranked
    ]


async def _ranked(
    body: RerankRequest, service: Service, context: RequestContext
) -> tuple[list[RankedText], int]:
    """The documents in their new order, and the tokens that the model read."""
    encoder, limits, contents = service.encoder, service.settings.limits, body.contents
    context.facts |= {"n_documents": len(contents), "top_n": body.top_n}
    expect_text("query", body.query, longest=limits.text_length, is_query=True)
    name = "documents" if body.texts is None else "texts"
    expect_texts(name, contents, most=limits.documents, longest=limits.text_length)
    query = await service.batcher.encode(context, [body.query], "query")
    documents = await service.batcher.encode(
        context,
        contents,
        "document",
        spans=body.spans is not None,
        max_tokens=body.max_tokens_per_doc,
    )
    settings, threshold = _span_settings(body.spans, contents)

    def rank() -> list[RankedText]:
        return rank_texts(
            query.embeddings[0],
            service.batcher.pool(documents.embeddings),
            body.top_n or max(1, len(contents)),
            device=encoder.device,
            spans=settings,
            threshold=threshold,
        )

    ranked = await service.searches.run(context, rank)
    return ranked, query.n_tokens + documents.n_tokens


def _span_settings(
    spans: SpansRequest | None, contents: list[str]
) -> tuple[SpanSettings | None, float]:
    if spans is None:
        return None, 0.0
    settings = SpanSettings(
        max_spans=min(spans.max_spans or _MOST_SPANS, _MOST_SPANS),
        min_share=0.0,
        texts=lambda doc_id: contents[int(doc_id)],
    )
    return settings, spans.threshold


def _shown(spans: list[Span]) -> list[RelevantSpan] | None:
    return [RelevantSpan(start=x.start, end=x.end, score=x.score) for x in spans] or None
