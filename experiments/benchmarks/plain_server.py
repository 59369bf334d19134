"""A server as one writes it in an afternoon: FastAPI around PyLate, to compare reranking with.

    python plain_server.py CHECKPOINT PORT    # in an environment with pylate, fastapi and uvicorn

Requests are scored as they come, each by itself; Starlette's thread pool runs them.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from pylate import models, rank


class RerankRequest(BaseModel):
    """The body of Cohere's rerank, as far as it is needed."""

    query: str
    documents: list[str]
    top_n: int = 10


def make_app(checkpoint: str) -> FastAPI:
    """The application."""
    model = models.ColBERT(checkpoint, device="cpu", model_kwargs={"dtype": torch.float32})
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"pylate": version("pylate")}

    @app.post("/v2/rerank")
    def rerank(request: RerankRequest) -> dict[str, Any]:
        queries = model.encode([request.query], is_query=True, show_progress_bar=False)
        documents = model.encode(request.documents, is_query=False, show_progress_bar=False)
        ids = list(range(len(request.documents)))
        [best] = rank.rerank([ids], queries, [documents], device="cpu")
        results = [{"index": match["id"], "score": float(match["score"])} for match in best]
        return {"results": results[: request.top_n]}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
