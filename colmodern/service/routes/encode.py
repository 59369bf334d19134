"""Texts to token embeddings."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from colmodern.config.fields import PoolFactor
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.batching import EncodedTexts
from colmodern.service.context import Context
from colmodern.service.errors import ServiceError
from colmodern.service.requests import Items, RequestBody, TimeoutMs, expect_texts
from colmodern.service.service import Service, ServiceState

router = APIRouter(tags=["encode"])
BINARY = "application/octet-stream"
_MOST_NUMBERS = 4_000_000  # in JSON, where each takes 20 characters


class EncodeRequest(RequestBody):
    """Texts to encode."""

    input: str | Items[str] = Field(description="one text, or several")
    input_type: Literal["query", "document"] = Field(description="what the texts are")
    encoding_format: Literal["float", "base64", "safetensors"] = Field(
        "float",
        description="float: lists of numbers; base64: little-endian bytes; safetensors: a file with "
        "the tensors values (n_tokens, dim) and offsets (n_texts + 1), as is the answer to Accept: "
        "application/octet-stream",
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="type of the numbers in base64 and safetensors"
    )
    pool_factor: PoolFactor | None = Field(
        None, description="tokens of a document that share a row; null: as the model's settings say"
    )
    timeout_ms: TimeoutMs = None


class Embedding(BaseModel):
    """The rows of one text."""

    object: str = "embedding"
    index: int = Field(description="position of the text in the request")
    shape: tuple[int, int] = Field(description="tokens and dim")
    embedding: list[list[float]] | str = Field(description="unit rows, as numbers or in base64")


class EncodeUsage(BaseModel):
    """Tokens that the model read, and those that a length limit cut off."""

    total_tokens: int
    truncated_tokens: int


class EncodeAnswer(BaseModel):
    """Token embeddings, in the order of the texts."""

    object: str = "list"
    model: str = Field(description="name of the model")
    dtype: str = Field(description="type of the numbers")
    fingerprint: str | None = Field(
        description="digest of the model and its settings, as indexes keep it; null where the "
        "request pools otherwise than the settings"
    )
    data: list[Embedding]
    usage: EncodeUsage


@router.post(
    "/v1/encode",
    summary="Encode texts",
    response_model=EncodeAnswer,
    responses={200: {"content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def encode(
    body: EncodeRequest, request: Request, service: ServiceState, context: Context
) -> Response:
    """Give each token of each text a unit vector, as the model of the server has it."""
    context.limit_time(body.timeout_ms)
    service.expect_ready()
    texts = [body.input] if isinstance(body.input, str) else body.input
    context.facts |= {"n_texts": len(texts), "input_type": body.input_type}
    limits = service.settings.limits
    is_query, longest = body.input_type == "query", limits.text_length
    expect_texts("input", texts, most=limits.inputs, longest=longest, is_query=is_query)
    if body.pool_factor is not None and is_query:
        raise ServiceError(
            422, "invalid_value", "pool_factor is of documents", "leave it out for queries"
        )
    if BINARY in request.headers.get("accept", ""):
        body.encoding_format = "safetensors"
    encoded = await service.batcher.encode(context, texts, body.input_type)
    return await service.searches.run(context, lambda: _answer(body, service, encoded))


def _answer(body: EncodeRequest, service: Service, encoded: EncodedTexts) -> Response:
    embeddings = encoded.embeddings
    if body.input_type == "document":
        embeddings = _pooled(embeddings, body.pool_factor, service)
    dtype = "float32" if body.encoding_format == "float" else body.dtype
    values = embeddings.values.astype(f"<f{np.dtype(dtype).itemsize}", copy=False)
    facts = {
        "model": service.model_name,
        "dtype": dtype,
        "fingerprint": embeddings.fingerprint,
    }
    if body.encoding_format == "safetensors":
        return Response(_safetensors(values, embeddings.offsets, facts), media_type=BINARY)
    if body.encoding_format == "float" and values.size > _MOST_NUMBERS:
        raise ServiceError(
            413,
            "answer_too_large",
            f"the answer has {values.size:,} numbers, too many for JSON",
            'ask for "encoding_format": "base64" or "safetensors", or send fewer texts',
        )
    data = [
        {
            "object": "embedding",
            "index": index,
            "shape": list(rows.shape),
            "embedding": rows.tolist()
            if body.encoding_format == "float"
            else b64encode(rows.tobytes()).decode(),
        }
        for index, rows in enumerate(np.split(values, embeddings.offsets[1:-1]))
        if index < embeddings.n_docs
    ]
    usage = {"total_tokens": encoded.n_tokens, "truncated_tokens": encoded.n_cut_tokens}
    answer = {"object": "list", **facts, "data": data, "usage": usage}
    return Response(json.dumps(answer, separators=(",", ":")), media_type="application/json")


def _pooled(
    documents: TokenEmbeddings, pool_factor: float | None, service: Service
) -> TokenEmbeddings:
    settings = service.encoder.settings
    if pool_factor is None or pool_factor == settings.pool_factor:
        return service.batcher.pool(documents)
    if pool_factor > 1:
        from colmodern.encoder.pooling import pool_tokens  # loads numba

        documents = pool_tokens(documents, pool_factor, protected=settings.protected_tokens)
    return TokenEmbeddings.unchecked(documents.values, documents.offsets, documents.token_ids)


def _safetensors(values: object, offsets: Any, facts: dict[str, str | None]) -> bytes:
    from safetensors.numpy import save

    metadata = {name: fact for name, fact in facts.items() if fact is not None}
    return save({"values": np.ascontiguousarray(values), "offsets": offsets}, metadata)
