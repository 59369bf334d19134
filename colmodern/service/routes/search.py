"""Searches of the indexes of the server, and explanations of their results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Response

from colmodern.checks import shown
from colmodern.partial import ShardedResults
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.context import Context, RequestContext
from colmodern.service.direct_route import DirectRoute
from colmodern.service.embeddings import array_of, embeddings_of
from colmodern.service.errors import unfit
from colmodern.service.index_answers import (
    explanation_json,
    hit_json,
    json_text,
    timed_response,
)
from colmodern.service.index_bodies import (
    INDEX_PATH,
    ExplainRequest,
    ExplanationAnswer,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
)
from colmodern.service.queues import as_one
from colmodern.service.requests import (
    expect_count,
    expect_document,
    expect_filter_size,
    expect_texts,
)
from colmodern.service.search_threads import JointWork
from colmodern.service.served_state import ServedHit, ServedState
from colmodern.service.service import Service, ServiceState

router = APIRouter(tags=["indexes"], route_class=DirectRoute)


@router.post(f"{INDEX_PATH}/search", summary="Search", response_model=SearchAnswer)
async def search(
    name: str, body: SearchRequest, service: ServiceState, context: Context
) -> Response:
    """The best documents of each query, best first, with the passages that matched."""
    context.limit_time(body.timeout_ms)
    state = service.index(name).state
    _expect_k(body, service, body.offset)
    if state.has_passages and body.group_by is not None:
        raise unfit(
            f"group_by is {shown(body.group_by)}, and the collection groups passages by document "
            "already",
            "leave group_by out",
        )
    expect_filter_size(body.filter, service.settings.limits.filter_values)
    texts = _expect_query_texts(body, state, service)
    context.facts |= {"index": name, "queries": body.n_queries, "k": body.k}
    if body.rescore:
        return await _rescored(body, state, service, context)

    def search_all(queries: Sequence[TokenEmbeddings]) -> list[str]:
        return _search_texts(body, state, queries)

    if texts is None:
        sent = _sent_queries(body, state, service)
        answer = await service.searches.run(context, lambda: search_all([sent])[0])
    else:
        work = JointWork((id(state), body.search_key), search_all, waits=state.is_sharded)
        answer = await service.batcher.encode_and(context, texts, "query", work)
    return timed_response(answer, context)


def _search_texts(
    body: SearchRequest, state: ServedState, requests: Sequence[TokenEmbeddings]
) -> list[str]:
    """The answers to requests that differ in their queries alone."""
    # other threads search the requests that wait beside these
    results = _results(body, state, as_one(requests), n_threads=None if len(requests) == 1 else 1)
    ends = np.cumsum([len(queries) for queries in requests])
    return [
        json_text(_search_answer(body, state, results[end - len(queries) : end]))
        for queries, end in zip(requests, ends, strict=True)
    ]


def _results(
    body: SearchRequest,
    state: ServedState,
    queries: TokenEmbeddings,
    n_threads: int | None = None,
) -> Sequence[Sequence[ServedHit]]:
    """The results of a search before they are rescored."""
    return state.search(
        queries,
        body.k,
        filter=body.filter,
        nprobe=body.nprobe,
        n_candidates=body.n_candidates,
        exact=body.exact,
        spans=False if body.rescore else body.span_settings,
        offset=body.offset,
        group_by=body.group_by,
        n_threads=n_threads,
    )


def _search_answer(
    body: SearchRequest, state: ServedState, results: Sequence[Sequence[ServedHit]]
) -> dict[str, object]:
    listed = [
        {
            "hits": [
                hit_json(hit, rank, body.texts, is_grouped=body.group_by is not None)
                for rank, hit in enumerate(hits, body.offset + 1)
            ]
        }
        for hits in results
    ]
    reports = [hits.shards for hits in results if isinstance(hits, ShardedResults)]
    missing = {name: why for report in reports for name, why in report.missing.items()}
    answer = {"results": listed, "index_version": state.version, "is_complete": not missing}
    return answer | ({"missing": missing} if missing else {})


async def _rescored(
    body: SearchRequest, state: ServedState, service: Service, context: RequestContext
) -> Response:
    """The answer of a search whose results are encoded again and scored exactly."""
    state.expect_texts()
    if (texts := body.query_texts) is None:
        queries = _sent_queries(body, state, service)
    else:
        queries = (await service.batcher.encode(context, texts, "query")).embeddings

    def with_texts() -> tuple[Sequence[Sequence[ServedHit]], list[str], list[str]]:
        results = _results(body, state, queries)
        ids = list(dict.fromkeys(hit.doc_id for hits in results for hit in hits))
        return results, ids, state.texts_of(ids)

    results, ids, contents = await service.searches.run(context, with_texts)
    expect_count("the results to rescore", len(ids), service.settings.limits.documents)
    wants_spans = body.span_settings is not False and (state.has_spans or bool(body.spans))
    encoded = await service.batcher.encode(
        context, contents, "document", spans=wants_spans, passages=state.has_passages
    )
    documents = service.batcher.pool(encoded.embeddings)
    counts = dict(zip(ids, encoded.counts, strict=True))

    def rescored() -> str:
        ranked = state.rescore(queries, results, documents, counts, spans=body.span_settings)
        return json_text(_search_answer(body, state, ranked))

    return timed_response(await service.searches.run(context, rescored), context)


@router.post(f"{INDEX_PATH}/explain", summary="Explain a result", response_model=ExplanationAnswer)
async def explain(
    name: str, body: ExplainRequest, service: ServiceState, context: Context
) -> Response:
    """Why a document is, or is not, among the results of a query, and which words matched."""
    context.limit_time(body.timeout_ms)
    state = service.index(name).state
    _expect_k(body, service)
    state.expect_texts()
    context.facts |= {"index": name, "k": body.k}
    _expect_queries([body.query], "query", service)

    def explained(requests: Sequence[TokenEmbeddings]) -> list[str]:
        [queries] = requests
        expect_document(body.doc_id, state, name)  # not before: shards may be elsewhere
        options = {"nprobe": body.nprobe, "n_candidates": body.n_candidates}
        explanation = state.explain(body.query, queries[0], body.doc_id, body.k, **options)
        return [json_text(explanation_json(explanation, body.doc_id, state))]

    work = JointWork(None, explained, waits=state.is_sharded)
    answer = await service.batcher.encode_and(context, [body.query], "query", work)
    return timed_response(answer, context)


def _expect_query_texts(
    body: SearchRequest, state: ServedState, service: Service
) -> list[str] | None:
    """The texts of queries, which can be encoded; None where embeddings were sent."""
    if (texts := body.query_texts) is not None:
        state.expect_texts()
        _expect_queries(texts, "queries", service)
    return texts


def _expect_queries(texts: Sequence[str], name: str, service: Service) -> None:
    limits = service.settings.limits
    expect_texts(name, texts, most=limits.queries, longest=limits.text_length, is_query=True)


def _sent_queries(body: SearchRequest, state: ServedState, service: Service) -> TokenEmbeddings:
    """The queries' embeddings as they were sent."""
    values = body.embeddings or ()
    expect_count("embeddings", len(values), service.settings.limits.queries)
    arrays = [array_of(f"embeddings[{i}]", value) for i, value in enumerate(values)]
    return embeddings_of(arrays, "embeddings", state.dim, body.fingerprint)


def _expect_k(body: SearchOptions, service: Service, offset: int = 0) -> None:
    if body.k + offset > (most := service.settings.limits.k):
        name = f"offset + k is {body.k + offset:,}" if offset else f"k is {body.k:,}"
        raise unfit(f"{name}, and this server takes {most:,}", f"ask for at most {most:,}")
