"""The indexes of the server: what they hold, and changes of it."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Response
from starlette.convertors import PathConvertor, register_url_convertor

from colmodern.collection.documents import StoredDocument
from colmodern.collection.model import EncodedDocuments
from colmodern.service.context import Context, RequestContext
from colmodern.service.embeddings import array_of, embeddings_of
from colmodern.service.errors import read_only, unfit
from colmodern.service.index_answers import (
    document_json,
    facts_json,
    json_response,
    summary_json,
)
from colmodern.service.index_bodies import (
    INDEX_PATH,
    ChangeAnswer,
    DeleteRequest,
    DocumentAnswer,
    DocumentRecord,
    IndexAnswer,
    IndexesAnswer,
    LookupAnswer,
    LookupRequest,
    PutRequest,
)
from colmodern.service.requests import expect_count, expect_document, expect_id, expect_texts
from colmodern.service.served import ServedIndex
from colmodern.service.served_state import ServedState
from colmodern.service.service import Service, ServiceState


class _DocumentId(PathConvertor):
    """The rest of a path, whatever it holds: Starlette's own ends at a line break."""

    regex = "(?s:.*)"


register_url_convertor("document_id", _DocumentId())
router = APIRouter(tags=["indexes"])


@router.get("/v1/indexes", summary="The indexes", response_model=IndexesAnswer)
async def indexes(service: ServiceState) -> Response:
    """Every index that is served, by name."""
    service.expect_ready()
    served = [summary_json(index) for _, index in sorted(service.indexes.items())]
    return json_response({"indexes": served})


@router.get(INDEX_PATH, summary="One index", response_model=IndexAnswer)
async def index_facts(name: str, service: ServiceState, context: Context) -> Response:
    """Counts, model, settings and sizes of an index."""
    index = service.index(name)
    return await service.searches.run(
        context, lambda: json_response(facts_json(index, service.hide))
    )


@router.post(
    f"{INDEX_PATH}/lookup", summary="Which documents are there", response_model=LookupAnswer
)
async def lookup(
    name: str, body: LookupRequest, service: ServiceState, context: Context
) -> Response:
    """The ids of documents of the index among those that are sent."""
    context.limit_time(body.timeout_ms)
    state = service.index(name).state
    expect_count("ids", len(body.ids), service.settings.limits.filter_values)

    def known() -> Response:
        return json_response({"ids": state.known_ids(body.ids), "index_version": state.version})

    return await service.searches.run(context, known)


@router.put(
    f"{INDEX_PATH}/documents", summary="Add or replace documents", response_model=ChangeAnswer
)
async def put_documents(
    name: str, body: PutRequest, service: ServiceState, context: Context
) -> Response:
    """Add documents, in place of those with the same ids: all of them, or none.

    A collection that ranks documents by their passages splits them; a replaced document loses the
    passages of its old text.

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
        context,
        lambda seconds: index.put(documents, embeddings, replaces=body.replace, seconds=seconds),
    )
    return _changed(len(documents), after, context)


@router.delete(f"{INDEX_PATH}/documents", summary="Delete documents", response_model=ChangeAnswer)
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
        expect_document(doc_id, index.state, name)
    after = await service.in_writer_thread(
        context, lambda seconds: index.delete(ids, seconds=seconds)
    )
    return _changed(len(ids), after, context)


@router.get(
    f"{INDEX_PATH}/documents/{{doc_id:document_id}}",
    summary="One document",
    response_model=DocumentAnswer,
)
async def document(name: str, doc_id: str, service: ServiceState, context: Context) -> Response:
    """A document with its text, title and fields."""
    state = service.index(name).state

    def known() -> Response:
        expect_document(doc_id, state, name)
        return json_response({**document_json(doc_id, state), "index_version": state.version})

    return await service.searches.run(context, known)


async def _embeddings(
    body: PutRequest,
    documents: Sequence[StoredDocument],
    state: ServedState,
    service: Service,
    context: RequestContext,
) -> EncodedDocuments:
    """The documents' embeddings, encoded or as they were sent."""
    if encoded_records := [record for record in body.documents if record.embedding is not None]:
        _expect_embeddings_alone(encoded_records, body, state)
        arrays = [
            array_of(f"documents[{i}].embedding", record.embedding)
            for i, record in enumerate(body.documents)
            if record.embedding is not None
        ]
        return embeddings_of(arrays, "documents", state.dim, body.fingerprint)
    for i, record in enumerate(body.documents):
        if record.text is None:
            raise unfit(f"documents[{i}] has no text", "send its text")
    state.expect_texts()
    texts = state.model_texts(documents)
    limits = service.settings.limits
    expect_texts("documents", texts, most=limits.documents, longest=limits.text_length)
    encoded = await service.batcher.encode(
        context, texts, "document", spans=state.has_spans, passages=state.has_passages
    )
    ids = [document.doc_id for document in documents]
    counts = dict(zip(ids, encoded.counts, strict=True))
    return state.encoded(service.batcher.pool(encoded.embeddings), counts)


def _expect_embeddings_alone(
    records: Sequence[DocumentRecord], body: PutRequest, state: ServedState
) -> None:
    """Raise ServiceError (422) where embeddings cannot stand for texts."""
    if state.collection is not None:
        raise unfit(
            f"document {records[0].id!r} has embeddings, and a collection keeps the text that they are of",
            "send its text alone; the server encodes it",
        )
    if state.has_spans:
        raise unfit(
            "the index keeps the characters of its tokens, which embeddings do not tell",
            "send texts",
        )
    if len(records) < len(body.documents) or any(
        record.text is not None or record.title for record in records
    ):
        raise unfit(
            "a document has embeddings, and some have a text or a title",
            "send embeddings of all documents, or texts of all",
        )


def _changeable(name: str, service: Service) -> ServedIndex:
    """An index that may be changed; raises ServiceError (403) for a server that changes none."""
    index = service.index(name)
    if index.read_only:
        raise read_only()
    return index


def _changed(n_changed: int, after: ServedState, context: RequestContext) -> Response:
    return json_response(
        {
            "changed": n_changed,
            "documents": after.n_docs,
            "index_version": after.version,
            "took_ms": context.took_ms("write"),
        }
    )
