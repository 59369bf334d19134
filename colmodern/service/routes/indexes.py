"""The indexes of the server: search, change, read and explain them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Response
from starlette.convertors import PathConvertor, register_url_convertor

from colmodern.collection.documents import StoredDocument
from colmodern.ragged.embeddings import TokenEmbeddings, joined_embeddings
from colmodern.service.context import Context, RequestContext
from colmodern.service.embeddings import array_of
from colmodern.service.errors import ServiceError, read_only, unknown_document
from colmodern.service.index_answers import (
    document_json,
    explanation_json,
    facts_json,
    hit_json,
    summary_json,
)
from colmodern.service.index_bodies import (
    ChangeAnswer,
    DeleteRequest,
    DocumentAnswer,
    DocumentRecord,
    ExplainRequest,
    ExplanationAnswer,
    IndexAnswer,
    IndexesAnswer,
    PutRequest,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
)
from colmodern.service.requests import expect_count, expect_filter_size, expect_id, expect_texts
from colmodern.service.search_threads import JointWork
from colmodern.service.served import ServedHit, ServedIndex, ServedState
from colmodern.service.service import Service, ServiceState


class _DocumentId(PathConvertor):
    """The rest of a path, whatever it holds: Starlette's own ends at a line break."""

    regex = "(?s:.*)"


register_url_convertor("document_id", _DocumentId())
router = APIRouter(tags=["indexes"])
_INDEX = "/v1/indexes/{name}"


@router.get("/v1/indexes", summary="The indexes", response_model=IndexesAnswer)
async def indexes(service: ServiceState) -> Response:
    """Every index that is served, by name."""
    service.expect_ready()
    served = [summary_json(index) for _, index in sorted(service.indexes.items())]
    return _json({"indexes": served})


@router.get(_INDEX, summary="One index", response_model=IndexAnswer)
async def index_facts(name: str, service: ServiceState, context: Context) -> Response:
    """Counts, model, settings and sizes of an index."""
    index = service.index(name)
    return await service.searches.run(context, lambda: _json(facts_json(index, service.hide)))


@router.post(f"{_INDEX}/search", summary="Search", response_model=SearchAnswer)
async def search(
    name: str, body: SearchRequest, service: ServiceState, context: Context
) -> Response:
    """The best documents of each query, best first, with the passages that matched."""
    context.limit_time(body.timeout_ms)
    state = service.index(name).state
    _expect_k(body, service, body.offset)
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
        work = JointWork((id(state), body.search_key), search_all)
        answer = await service.batcher.encode_and(context, texts, "query", work)
    return _timed_response(answer, context)


def _search_texts(
    body: SearchRequest, state: ServedState, requests: Sequence[TokenEmbeddings]
) -> list[str]:
    """The answers to requests that differ in their queries alone."""
    joined = requests[0] if len(requests) == 1 else joined_embeddings(requests)
    # other threads search the requests that wait beside these
    results = _results(body, state, joined, n_threads=None if len(requests) == 1 else 1)
    ends = np.cumsum([len(queries) for queries in requests])
    return [
        _text_of(_search_answer(body, state, results[end - len(queries) : end]))
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
    return {"results": listed, "index_version": state.version, "is_complete": True}


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
    encoded = await service.batcher.encode(context, contents, "document", spans=wants_spans)
    documents = service.batcher.pool(encoded.embeddings)

    def rescored() -> dict[str, object]:
        ranked = state.rescore(queries, results, documents, ids, spans=body.span_settings)
        return _search_answer(body, state, ranked)

    return await _answered(service, context, rescored)


@router.put(f"{_INDEX}/documents", summary="Add or replace documents", response_model=ChangeAnswer)
async def put_documents(
    name: str, body: PutRequest, service: ServiceState, context: Context
) -> Response:
    """Add documents, in place of those with the same ids: all of them, or none.

    The answer comes when searches see the change. A change that has begun is made to its end, also
    when its client goes away.
    """
    context.limit_time(body.timeout_ms)
    index = _changeable(name, service)
    limits = service.settings.limits
    expect_count("documents", len(body.documents), limits.documents)
    for i, record in enumerate(body.documents):
        expect_id(f"documents[{i}].id", record.id, limits.id_length)
    context.facts |= {"index": name, "documents": len(body.documents)}
    documents = [
        StoredDocument(record.id, record.text or "", record.title, record.fields)
        for record in body.documents
    ]
    embeddings = await _embeddings(body, documents, index.state, service, context)
    after = await service.in_writer_thread(
        context, lambda seconds: index.update(documents, embeddings, seconds=seconds)
    )
    return _changed(len(documents), after, context)


@router.delete(f"{_INDEX}/documents", summary="Delete documents", response_model=ChangeAnswer)
async def delete_documents(
    name: str, body: DeleteRequest, service: ServiceState, context: Context
) -> Response:
    """Delete documents: all of them, or none where one is not there."""
    context.limit_time(body.timeout_ms)
    index = _changeable(name, service)
    ids = list(dict.fromkeys(body.ids))
    expect_count("ids", len(ids), service.settings.limits.documents)
    context.facts |= {"index": name, "documents": len(ids)}
    for doc_id in ids:
        _expect_document(doc_id, index.state, name)
    after = await service.in_writer_thread(
        context, lambda seconds: index.delete(ids, seconds=seconds)
    )
    return _changed(len(ids), after, context)


@router.get(
    f"{_INDEX}/documents/{{doc_id:document_id}}",
    summary="One document",
    response_model=DocumentAnswer,
)
async def document(name: str, doc_id: str, service: ServiceState, context: Context) -> Response:
    """A document with its text, title and fields."""
    state = service.index(name).state
    _expect_document(doc_id, state, name)
    return await service.searches.run(
        context, lambda: _json({**document_json(doc_id, state), "index_version": state.version})
    )


@router.post(f"{_INDEX}/explain", summary="Explain a result", response_model=ExplanationAnswer)
async def explain(
    name: str, body: ExplainRequest, service: ServiceState, context: Context
) -> Response:
    """Why a document is, or is not, among the results of a query, and which words matched."""
    context.limit_time(body.timeout_ms)
    state = service.index(name).state
    _expect_k(body, service)
    _expect_document(body.doc_id, state, name)
    state.expect_texts()
    context.facts |= {"index": name, "k": body.k}
    _expect_queries([body.query], "query", service)

    def explained(requests: Sequence[TokenEmbeddings]) -> list[str]:
        [queries] = requests
        options = {"nprobe": body.nprobe, "n_candidates": body.n_candidates}
        explanation = state.explain(body.query, queries[0], body.doc_id, body.k, **options)
        return [_text_of(explanation_json(explanation, state))]

    answer = await service.batcher.encode_and(
        context, [body.query], "query", JointWork(None, explained)
    )
    return _timed_response(answer, context)


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
    return _with_fingerprint(arrays, "embeddings", state, body.fingerprint)


async def _embeddings(
    body: PutRequest,
    documents: Sequence[StoredDocument],
    state: ServedState,
    service: Service,
    context: RequestContext,
) -> TokenEmbeddings:
    """The documents' embeddings, encoded or as they were sent."""
    if encoded_records := [record for record in body.documents if record.embedding is not None]:
        _expect_embeddings_alone(encoded_records, body, state)
        arrays = [
            array_of(f"documents[{i}].embedding", record.embedding)
            for i, record in enumerate(body.documents)
            if record.embedding is not None
        ]
        return _with_fingerprint(arrays, "documents", state, body.fingerprint)
    for i, record in enumerate(body.documents):
        if record.text is None:
            raise _unfit(f"documents[{i}] has no text", "send its text")
    state.expect_texts()
    texts = state.model_texts(documents)
    limits = service.settings.limits
    expect_texts("documents", texts, most=limits.documents, longest=limits.text_length)
    encoded = await service.batcher.encode(context, texts, "document", spans=state.has_spans)
    return service.batcher.pool(encoded.embeddings)


def _expect_embeddings_alone(
    records: Sequence[DocumentRecord], body: PutRequest, state: ServedState
) -> None:
    """Raise ServiceError (422) where embeddings cannot stand for texts."""
    if state.collection is not None:
        raise _unfit(
            f"document {records[0].id!r} has embeddings, and a collection keeps the text that they are of",
            "send its text alone; the server encodes it",
        )
    if state.has_spans:
        raise _unfit(
            "the index keeps the characters of its tokens, which embeddings do not tell",
            "send texts",
        )
    if len(records) < len(body.documents) or any(
        record.text is not None or record.title for record in records
    ):
        raise _unfit(
            "a document has embeddings, and some have a text or a title",
            "send embeddings of all documents, or texts of all",
        )


def _with_fingerprint(
    arrays: Sequence[npt.NDArray[np.floating]],
    name: str,
    state: ServedState,
    fingerprint: str | None,
) -> TokenEmbeddings:
    """Arrays as embeddings of one dim, which is the index's."""
    for i, array in enumerate(arrays):
        if array.shape[1] != state.dim:
            raise _unfit(
                f"{name}[{i}] has dim {array.shape[1]}, and the index {state.dim}",
                "encode with the model of the index",
            )
    embeddings = TokenEmbeddings.from_list(list(arrays))
    return TokenEmbeddings(embeddings.values, embeddings.offsets, fingerprint=fingerprint)


def _expect_k(body: SearchOptions, service: Service, offset: int = 0) -> None:
    if body.k + offset > (most := service.settings.limits.k):
        name = f"offset + k is {body.k + offset:,}" if offset else f"k is {body.k:,}"
        raise _unfit(f"{name}, and this server takes {most:,}", f"ask for at most {most:,}")


def _changeable(name: str, service: Service) -> ServedIndex:
    """An index that may be changed; raises ServiceError (403) for a server that changes none."""
    index = service.index(name)
    if index.read_only:
        raise read_only()
    return index


def _expect_document(doc_id: str, state: ServedState, name: str) -> None:
    if doc_id not in state:
        raise unknown_document(doc_id, name)


def _unfit(message: str, cure: str) -> ServiceError:
    return ServiceError(422, "invalid_value", message, cure)


def _changed(n_changed: int, after: ServedState, context: RequestContext) -> Response:
    return _json(
        {
            "changed": n_changed,
            "documents": after.n_docs,
            "index_version": after.version,
            "took_ms": context.took_ms("write"),
        }
    )


async def _answered(
    service: Service, context: RequestContext, work: Callable[[], dict[str, object]]
) -> Response:
    """The answer of work that a search thread does, written there too, and the time that it took."""
    text = await service.searches.run(context, lambda: _text_of(work()))
    return _timed_response(text, context)


def _timed_response(text: str, context: RequestContext) -> Response:
    """An answer, which is a JSON object, with the time that it took."""
    return _response(f'{text[:-1]},"took_ms":{_text_of(context.took_ms())}}}')


def _json(content: dict[str, object]) -> Response:
    return _response(_text_of(content))


def _text_of(content: Mapping[str, object]) -> str:
    """An answer as JSON; its model describes it, and building that would take longer than a search."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _response(text: str) -> Response:
    return Response(text.encode(), media_type="application/json")
