"""Token embeddings over HTTP equal those of the library."""

from __future__ import annotations

import gzip
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load

from colmodern.encoder.encoder import Encoder

TEXTS = ["open a file and read it", "x", "wings 🛩️ lift an aeroplane " * 12]
CLOSE = 1e-5  # rounding of floats in batches of other sizes


def encoded(server: Any, **body: Any) -> Any:
    response = server.client.post("/v1/encode", json={"input": TEXTS, **body})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("role", ["query", "document"])
def test_numbers_are_those_of_the_encoder(server: Any, encoder: Encoder, role: str) -> None:
    answer = encoded(server, input_type=role)
    encode = encoder.encode_queries if role == "query" else encoder.encode_documents
    expected = encode(TEXTS)
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    for item, rows in zip(answer["data"], expected, strict=True):
        assert tuple(item["shape"]) == rows.shape
        np.testing.assert_allclose(item["embedding"], rows, atol=CLOSE)
    assert answer["fingerprint"] == expected.fingerprint
    assert answer["usage"]["total_tokens"] >= expected.n_tokens
    assert answer["usage"]["truncated_tokens"] == 0 or role == "query"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", CLOSE), ("float16", 1e-3)])
def test_base64_holds_the_bytes_of_the_rows(
    server: Any, encoder: Encoder, dtype: str, tolerance: float
) -> None:
    answer = encoded(server, input_type="document", encoding_format="base64", dtype=dtype)
    for item, rows in zip(answer["data"], encoder.encode_documents(TEXTS), strict=True):
        values = np.frombuffer(b64decode(item["embedding"]), f"<f{2 if dtype == 'float16' else 4}")
        np.testing.assert_allclose(values.reshape(item["shape"]), rows, atol=tolerance)


@pytest.mark.parametrize("by_header", [False, True])
def test_safetensors_hold_all_rows_and_where_texts_begin(
    server: Any, encoder: Encoder, by_header: bool, tmp_path: Any
) -> None:
    body = {"input": TEXTS, "input_type": "document"}
    headers = {"Accept": "application/octet-stream"} if by_header else {}
    if not by_header:
        body["encoding_format"] = "safetensors"
    response = server.client.post("/v1/encode", json=body, headers=headers)
    assert response.headers["content-type"] == "application/octet-stream"
    tensors, expected = load(response.content), encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(tensors["values"], expected.values, atol=CLOSE)
    np.testing.assert_array_equal(tensors["offsets"], expected.offsets)
    (tmp_path / "answer.safetensors").write_bytes(response.content)
    with safe_open(tmp_path / "answer.safetensors", "numpy") as file:
        assert file.metadata()["fingerprint"] == expected.fingerprint


def test_documents_are_pooled_on_request(server: Any, encoder: Encoder) -> None:
    answer = encoded(server, input_type="document", pool_factor=2)
    settings = {**encoder.settings.as_overrides(), "pool_factor": 2}
    expected = encoder.with_settings(**settings).encode_documents(TEXTS)
    assert [item["shape"][0] for item in answer["data"]] == expected.lengths.tolist()
    assert answer["fingerprint"] is None


def test_one_text_and_no_text_are_lists_too(server: Any) -> None:
    assert len(encoded(server, input="one", input_type="query")["data"]) == 1
    assert encoded(server, input=[], input_type="document")["data"] == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": ["a"], "input_type": "query", "inputs": 1}, 422, "inputs: unknown field"),
        ({"input": ["a"], "input_type": "passage"}, 422, "input_type: Input should be 'query'"),
        ({"input": ["a"] * 1001, "input_type": "query"}, 422, "input has 1,001 items"),
        ({"input": ["a"], "input_type": "query", "pool_factor": 2}, 422, "pool_factor"),
        ({"input": [""], "input_type": "query"}, 422, "is empty"),
        ({"input": ["a"], "input_type": "query", "timeout_ms": 0}, 422, "timeout_ms"),
        ([], 422, "the body must be a JSON object"),
    ],
)
def test_a_wrong_body_is_answered_with_the_field_and_a_cure(
    server: Any, body: Any, status: int, message: str
) -> None:
    response = server.client.post("/v1/encode", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert message in error["message"]
    assert error["cure"]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"1e999999" * 5000])
def test_what_is_not_json_is_a_bad_request(server: Any, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = server.client.post("/v1/encode", content=content, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["cure"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "x"])
def test_a_body_that_is_not_said_to_be_json_is_refused(server: Any, kind: str | None) -> None:
    content = b'{"input": "a", "input_type": "query"}'
    headers = {} if kind is None else {"content-type": kind}
    for body in (content, iter([content])):
        response = server.client.post("/v1/encode", content=body, headers=headers)
        assert response.status_code == 415
        assert response.json()["error"]["cure"] == "send JSON, with Content-Type: application/json"
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert server.client.post("/v1/encode", content=content, headers=headers).status_code == 200


def test_a_compressed_body_is_refused(server: Any) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    content = gzip.compress(b'{"input": "x", "input_type": "query"}')
    response = server.client.post("/v1/encode", content=content, headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "encoded_body"
