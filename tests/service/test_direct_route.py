"""Direct routes answer what FastAPI's own routes answer, without its router."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import Router

from colmodern.service import assembly
from colmodern.service.app import create_app
from colmodern.service.context import Context
from colmodern.service.direct_route import DirectRoute, DirectRoutes
from colmodern.service.index_bodies import SearchRequest
from colmodern.service.routes import search
from colmodern.service.service import ServiceState

JSON = {"Content-Type": "application/json"}
BODIES = [
    b"",
    b" ",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe{}",
    b"[" * 100_000,
    b"{}",
    b'{"queries": 3}',
    b'{"queries": "a", "k": "3"}',
    b'{"queries": "a", "k": 0, "offset": -1}',
    b'{"queries": "a", "k": 1e400}',
    b'{"queries": "a", "k": NaN}',
    b'{"queries": "a", "unknown": 1}',
    b'{"queries": ["a", 1, []]}',
    b'{"queries": "a", "embeddings": [[1.0]]}',
    b'{"queries": "a", "spans": {"max_spans": 0, "other": 1}}',
    b'{"queries": "a", "filter": {"year": {"gte": 2020}}, "exact": true}',
    b"{" + b",".join(b'"%d": 1' % i for i in range(100)) + b"}",
]


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = create_app("colmodern/tiny")
    for path, route_class in (("fastapi", APIRoute), ("direct", DirectRoute)):
        router = APIRouter(route_class=route_class)

        @router.post(f"/{path}/{{name}}")
        async def echo(
            name: str, body: SearchRequest, service: ServiceState, context: Context
        ) -> Response:
            assert service.settings.indexes == {}
            assert context.request_id
            return Response(name + body.model_dump_json())

        app.include_router(router)
    return TestClient(app, base_url="http://127.0.0.1")  # without its life: no model is loaded


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:40])
def test_a_body_is_answered_as_by_a_route_of_fastapi(client: TestClient, body: bytes) -> None:
    expected = client.post("/fastapi/a%20b", content=body, headers=JSON)
    answer = client.post("/direct/a%20b", content=body, headers=JSON)
    assert (answer.status_code, answer.text) == (expected.status_code, expected.text)
    assert answer.status_code in (200, 400, 422)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/indexes/none/search", b'{"queries": "a"}'),
        ("POST", "/v1/indexes/none/search", b"{"),
        ("POST", "/v1/indexes/a%2Fb/search", b'{"queries": "a"}'),
        ("POST", "/v1/indexes//search", b'{"queries": "a"}'),
        ("POST", "/v1/indexes/none/explain", b"{}"),
        ("GET", "/v1/indexes/none/search", b""),
        ("OPTIONS", "/v1/indexes/none/search", b""),
        ("POST", "/v1/indexes/none/search/", b'{"queries": "a"}'),
    ],
)
def test_a_request_that_passes_no_router_is_answered_as_by_one(
    method: str, path: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer() -> tuple[object, ...]:
        client = TestClient(create_app("colmodern/tiny"), base_url="http://127.0.0.1")
        response = client.request(method, path, content=body, headers=JSON)
        lines = client.get("/metrics").text.splitlines()
        counts = [x for x in lines if x.startswith("colmodern_requests_total") and "search" in x]
        headers = {k: v for k, v in response.headers.items() if k != "x-request-id"}
        return response.status_code, response.text, headers, counts

    direct = answer()
    monkeypatch.setattr(assembly, "DirectRoutes", lambda _: DirectRoutes([]))
    assert direct == answer()


def test_searches_of_an_application_pass_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(create_app("colmodern/tiny"), base_url="http://127.0.0.1")
    monkeypatch.setattr(Router, "__call__", None)
    answer = client.post("/v1/indexes/none/search", content=b"{", headers=JSON)
    assert answer.json()["error"]["code"] == "invalid_json"


def test_a_path_below_a_prefix_is_left_to_the_router() -> None:
    routes = DirectRoutes(search.router.routes)
    scope = {"type": "http", "method": "POST", "path": "/v1/indexes/a/search", "root_path": "/at"}
    assert not asyncio.run(routes.answer(scope, None, None))  # type: ignore[arg-type]


def test_a_path_of_a_direct_route_is_described_like_any_other(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    expected, answer = (paths[f"/{kind}/{{name}}"]["post"] for kind in ("fastapi", "direct"))
    assert answer["requestBody"] == expected["requestBody"]
    assert answer["parameters"] == expected["parameters"]
