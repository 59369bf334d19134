"""The application inside another one, and what making it does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import colmodern
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError, InputError
from colmodern.service.settings import ServeSettings, load_serve_settings
from tests.service.conftest import RunningServer

KEY = "0123456789abcdef-key"


def test_making_the_application_loads_no_model() -> None:
    code = (
        "import sys, time, colmodern\n"
        "app = colmodern.create_app('no-such-model', {'docs': 'no-such-folder'})\n"
        "print(app.state.service.status)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "starting\n"


def test_the_application_works_below_a_path_of_another(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)
    inner = colmodern.create_app(encoder, api_key_file=str(tmp_path / "keys"), port=0)
    outer = FastAPI(lifespan=inner.router.lifespan_context)
    outer.mount("/retrieval", inner)
    outer.state.service = inner.state.service  # where the test's server looks for its settings
    running = RunningServer.of(outer)
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"query": "a file", "documents": ["wings", "open the file"]}
    try:
        assert running.client.get("/retrieval/ready").status_code == 200
        assert running.client.post("/retrieval/v2/rerank", json=body).status_code == 401
        answer = running.client.post("/retrieval/v2/rerank", json=body, headers=headers).json()
        assert answer["results"][0]["index"] == 1
    finally:
        running.close()


@pytest.mark.parametrize("status", ["starting", "failed"])
def test_a_server_that_ends_before_it_is_ready_still_says_that_it_is_not(status: str) -> None:
    app = colmodern.create_app("colmodern/tiny")
    service = app.state.service
    service.status = status
    service.drain()
    client = TestClient(app, base_url="http://127.0.0.1")  # without its life: no model is loaded
    answer = client.post("/v2/rerank", json={"query": "a", "documents": ["b"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert "about to end" in client.get("/ready").json()["error"]["message"]


def test_an_application_without_its_lifespan_says_that_it_is_not_ready(encoder: Encoder) -> None:
    import asyncio

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(colmodern.create_app(encoder))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v2/rerank", json={"query": "a", "documents": ["b"]})

    response = asyncio.run(ask())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"


def test_a_server_that_cannot_load_its_model_ends_with_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "colmodern", "serve", "-m", str(tmp_path), "--port=0"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in run.stderr


def test_settings_come_from_a_file_and_are_replaced_by_arguments(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("encoder: {model: colmodern/tiny}\nindexes: {a: x}\nlimits: {k: 7}\n")
    app = colmodern.create_app(config=path, read_only=True, limits={"queries": 3})
    settings = app.state.service.settings
    assert settings.indexes == {"a": "x"}
    assert (settings.limits.k, settings.limits.queries, settings.read_only) == (7, 3, True)
    again = colmodern.create_app(config=settings, indexes={"b": tmp_path})
    assert again.state.service.settings.indexes == {"a": "x", "b": str(tmp_path)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prot": 1}, "did you mean 'port'"),
        ({"limits": {"k": 0}}, "limits.k"),
        ({"indexes": {"a b": "x"}}, "cannot name an index"),
        ({"host": ""}, "host"),
        ({"limits": {"body": "many"}}, "limits.body"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_serve_settings(None, values=values)


def test_a_model_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="pass an Encoder"):
        colmodern.create_app(3)  # type: ignore[arg-type]


def test_settings_that_were_read_are_written_as_they_were() -> None:
    settings = ServeSettings(indexes={"docs": "/srv/docs"})
    assert ServeSettings(**settings.model_dump(mode="json")) == settings
