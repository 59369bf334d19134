"""Puts the application together: routes, middleware, errors, and the life of its service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

import colmodern
from colmodern.errors import ColmodernError
from colmodern.service.context import KEY
from colmodern.service.direct_route import DirectRoutes
from colmodern.service.errors import ERROR_ANSWERS, answer_of
from colmodern.service.middleware import RequestMiddleware
from colmodern.service.reference import reference_page
from colmodern.service.routes import encode, indexes, page, rerank, search, status
from colmodern.service.service import Service

# a request is compared with one path after another, so the busiest paths come first
_ROUTERS = (search.router, indexes.router, rerank.router, encode.router, status.router, page.router)
_ABOUT = (
    "Late-interaction retrieval: search, rerank and encode with token embeddings, and see the passages "
    "that matched. Errors have the body {error: {code, message, cure}}."
)


def assemble(service: Service) -> FastAPI:
    """The application of a service, whose model is loaded when the application starts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start())
        yield
        await asyncio.gather(starting, return_exceptions=True)
        await service.stop()

    app = FastAPI(
        title="colmodern",
        description=_ABOUT,
        version=colmodern.__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads scripts from another host
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in _ROUTERS:
        app.include_router(router, responses=ERROR_ANSWERS)
    app.add_api_route("/docs", _documentation, include_in_schema=False)
    for kind in (HTTPException, RequestValidationError, ColmodernError):
        app.add_exception_handler(kind, _answer_error)
    routes = [route for router in _ROUTERS for route in router.routes]
    app.add_middleware(RequestMiddleware, service=service, direct=DirectRoutes(routes))
    return app


async def _documentation(request: Request) -> Response:
    """The paths of the application as a page."""
    return HTMLResponse(
        reference_page(request.app.openapi()),
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    return answer_of(error, request.app.state.service.hide, request.scope[KEY].request_id)
