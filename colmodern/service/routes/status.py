"""Whether the server lives, is ready, and what it has done and holds."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

import colmodern
from colmodern.service.errors import not_ready
from colmodern.service.service import ServiceState

router = APIRouter(tags=["status"])


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"
    version: str = Field(description="version of colmodern")


class Readiness(BaseModel):
    """The server can answer requests."""

    status: str = "ready"


class Model(BaseModel):
    """The model that encodes queries and documents."""

    id: str = Field(description="its name")
    object: str = "model"
    owned_by: str = "colmodern"
    dim: int = Field(description="width of a token embedding")
    query_length: int = Field(description="tokens of a query; longer ones are cut")
    document_length: int = Field(description="tokens of a document, or of a window of one")
    query_fingerprint: str = Field(description="digest of all that embeddings of queries depend on")
    document_fingerprint: str = Field(
        description="digest of all that embeddings of documents depend on"
    )


class Models(BaseModel):
    """The models of the server: one."""

    object: str = "list"
    data: list[Model]


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Whether the process lives")
async def health() -> Health:
    """Answer as long as the process does, also before the model is loaded."""
    return Health(version=colmodern.__version__)


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Whether requests can be answered")
async def ready(service: ServiceState) -> Readiness:
    """Answer 503 until model and kernels are loaded and a canary query was answered, and at the end."""
    if service.is_draining:
        raise not_ready("the server is about to end", "ask another server, or try again later")
    service.expect_ready()
    return Readiness()


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(service: ServiceState) -> Response:
    """Counters and histograms in the text format of Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/models", summary="The model")
async def models(service: ServiceState) -> Models:
    """The model that this server encodes with, in the shape that clients of other servers read."""
    encoder = service.encoder
    return Models(
        data=[
            Model(
                id=service.model_name,
                dim=encoder.dim,
                query_length=encoder.settings.query_length,
                document_length=encoder.settings.document_length,
                query_fingerprint=encoder.fingerprint("query"),
                document_fingerprint=encoder.fingerprint("document"),
            )
        ]
    )
