"""Wrong bodies get the same answers from DirectRoute as from FastAPI's own routes."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from colmodern.service.app import create_app
from colmodern.service.context import Context
from colmodern.service.direct_route import DirectRoute
from colmodern.service.index_bodies import SearchRequest
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


def test_a_path_of_a_direct_route_is_described_like_any_other(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    expected, answer = (paths[f"/{kind}/{{name}}"]["post"] for kind in ("fastapi", "direct"))
    assert answer["requestBody"] == expected["requestBody"]
    assert answer["parameters"] == expected["parameters"]
