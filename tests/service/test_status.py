"""Health, readiness, metrics, the model, and what surrounds every request."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from colmodern.errors import ConfigError
from colmodern.kernels.cpu.ward import ward_labels
from colmodern.service.keys import read_keys
from colmodern.service.logs import JsonLines
from colmodern.service.server import expect_safe, with_own_hosts
from colmodern.service.settings import ServeSettings

KEY = "0123456789abcdef-key"


def error_of(response: Any) -> dict[str, str]:
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "cure"]
    assert all(body["error"].values())
    return body["error"]


def test_a_started_server_is_healthy_and_ready(server: Any) -> None:
    assert server.client.get("/health").json()["status"] == "ok"
    assert server.client.get("/ready").json() == {"status": "ready"}
    [model] = server.client.get("/v1/models").json()["data"]
    assert model["id"] == "colmodern/tiny"
    assert model["document_fingerprint"] == server.service.encoder.fingerprint("document")


def test_balancers_may_ask_for_the_head_alone(server: Any) -> None:
    for path in ("/", "/health", "/ready"):
        response = server.client.head(path)
        assert (response.status_code, response.content) == (200, b"")
    assert server.client.get("/health/").status_code == 404


def test_a_slow_request_is_logged_again_with_its_sizes_and_no_text(
    make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(log={"slow_ms": 0, "access": False})
    with caplog.at_level(logging.INFO, logger="colmodern.service.access"):
        body = {"query": "a secret", "documents": ["hidden", "words"]}
        server.client.post("/v2/rerank", json=body)
        server.close()
    # another server of these tests may still log the end of its last request
    records = [record for record in caplog.records if record.name.endswith("access")]
    [record] = [record for record in records if vars(record)["fields"]["path"] == "/v2/rerank"]
    line = JsonLines().format(record)
    assert "secret" not in line
    assert "hidden" not in line
    fields = json.loads(line)
    assert (fields["message"], fields["level"]) == ("slow request", "warning")
    assert fields["n_documents"] == 2
    assert set(fields["stages_ms"]) == {"queue", "encode", "search"}


def test_a_request_keeps_its_id_when_that_is_a_plain_word(server: Any) -> None:
    def sent(request_id: str) -> str:
        return server.client.get("/health", headers={"X-Request-ID": request_id}).headers[
            "x-request-id"
        ]

    assert sent("abc-1") == "abc-1"
    for other in ("a b", "x" * 129, '"}', ""):
        assert sent(other) != other
        assert len(sent(other)) == 32


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("POST", "/health", 405, "method_not_allowed")],
)
def test_unknown_paths_and_methods_are_errors_with_a_cure(
    server: Any, method: str, path: str, status: int, code: str
) -> None:
    response = server.client.request(method, path)
    assert response.status_code == status
    assert error_of(response)["code"] == code


def test_metrics_name_routes_and_no_path_of_a_client(server: Any) -> None:
    server.client.get("/secret-name-of-a-client")
    server.client.get("/health")
    text = server.client.get("/metrics").text
    assert 'colmodern_requests_total{code="200",path="/health"}' in text
    assert 'colmodern_requests_total{code="404",path="(unknown)"}' in text
    assert "secret-name" not in text
    assert "process_resident_memory_bytes" in text
    assert 'colmodern_batch_tokens_count{role="query"}' in text  # the canary at least


def test_the_documentation_lists_every_path_and_asks_no_other_host(server: Any) -> None:
    page = server.client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert f" {path}</code>" in page.text


def test_keys_open_all_paths_and_nothing_else_does(make_server: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# of a test\n{KEY}\nanother-key-0123456789\n")
    server = make_server(api_key_file=str(tmp_path / "keys"))
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 200
    for header in ("", KEY, "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", "Bearer # of a test"):
        response = server.client.get("/v1/models", headers={"Authorization": header})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert error_of(response)["code"] == "unauthorized"
    for key in (KEY, "another-key-0123456789"):
        response = server.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert response.status_code == 200


@pytest.mark.parametrize("text", ["", "# only\n", "short\n", "with space 0123456789\n"])
def test_a_file_without_usable_keys_is_refused(make_server: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        make_server(api_key_file=str(tmp_path / "keys"))


def test_other_addresses_need_a_key_or_an_explicit_word() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        expect_safe(ServeSettings(host=host))
    expect_safe(ServeSettings(host="0.0.0.0", insecure=True))
    expect_safe(ServeSettings(host="0.0.0.0", api_key_file="keys"))
    with pytest.raises(ConfigError, match="--api-key-file"):
        expect_safe(ServeSettings(host="0.0.0.0"))


def test_a_server_without_keys_answers_to_names_of_this_machine_alone(make_server: Any) -> None:
    hosts = with_own_hosts(ServeSettings()).allowed_hosts
    assert hosts is not None
    server = make_server(allowed_hosts=hosts)
    for host in ("localhost", f"localhost:{server.port}", "[::1]:80", "127.0.0.1"):
        assert server.client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("example.org", "localhost.example.org", "127.0.0.1.example.org:8080"):
        response = server.client.get("/health", headers={"Host": host})
        assert response.status_code == 400
        assert error_of(response)["code"] == "unknown_host"


def test_a_request_is_logged_as_one_line_of_json(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="colmodern.service.access"):
        server.client.get("/v1/models", headers={"X-Request-ID": "logged"})
        deadline = time.monotonic() + 20
        while not (lines := [r for r in caplog.records if r.name.endswith("access")]):
            assert time.monotonic() < deadline  # the answer is sent before it is logged
            time.sleep(0.005)
    [record] = lines
    line = JsonLines().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["request_id"] == "logged"
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/v1/models", 200)
    assert fields["ms"] > 0


def test_probes_are_logged_at_level_debug_alone(
    make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="colmodern.service.access"):
        server = make_server()
        for path in ("/health", "/ready", "/metrics", "/v1/models"):
            server.client.get(path)
        server.close()
    levels = {r.fields["path"]: r.levelname for r in caplog.records if r.name.endswith("access")}  # type: ignore[attr-defined]
    probes = dict.fromkeys(("/health", "/ready", "/metrics"), "DEBUG")
    assert levels == {**probes, "/v1/models": "INFO"}


def test_a_file_of_keys_that_everybody_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    for mode, n_warnings in ((0o640, 0), (0o644, 1)):
        keys.chmod(mode)
        caplog.clear()
        read_keys(keys)
        assert [r.levelname for r in caplog.records] == ["WARNING"] * n_warnings


def test_a_server_that_is_ready_compiles_no_pooling_any_more(server: Any) -> None:
    compiled = list(ward_labels.signatures)  # type: ignore[attr-defined]
    assert compiled
    body = {"input": ["a text of some words"], "input_type": "document", "pool_factor": 2}
    assert server.client.post("/v1/encode", json=body).status_code == 200
    assert ward_labels.signatures == compiled  # type: ignore[attr-defined]
