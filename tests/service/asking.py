"""Requests of served indexes, and the documents that tests serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from colmodern import Collection, Encoder
from colmodern.service.index_bodies import SearchAnswer

RECORDS = [
    {
        "id": "backup",
        "title": "Backups",
        "text": "The tool copies folders every night. To restore a single file, name it.",
        "fields": {"language": "en", "pages": [1, 2]},
    },
    {"id": "rename/it", "text": "To rename a single file, choose it and type another name."},
    {"id": "pasta", "title": "Cooking", "text": "Boil the pasta in salted water."},
]
JSON = {"Content-Type": "application/json"}
QUERY = "restore one file"


def filled(folder: Path, encoder: Encoder, **options: Any) -> Collection:
    """A collection of RECORDS."""
    collection = Collection.create(folder, encoder, **options)
    collection.add(
        {name: value for name, value in record.items() if name != "fields"}
        | record.get("fields", {})  # type: ignore[operator]
        for record in RECORDS
    )
    return collection


def answer(response: Any, model: type[BaseModel]) -> dict[str, Any]:
    """The body of an answer, which has the shape that the documentation says."""
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    assert model.model_validate(body).model_dump(mode="json", exclude_unset=True) == body
    return body


def search(server: Any, name: str = "docs", **body: Any) -> dict[str, Any]:
    return answer(server.client.post(f"/v1/indexes/{name}/search", json=body), SearchAnswer)


def hits_of(server: Any, name: str = "docs", **body: Any) -> list[dict[str, Any]]:
    [result] = search(server, name, **body)["results"]
    return result["hits"]


def put(server: Any, *documents: dict[str, Any], name: str = "docs", **body: Any) -> Any:
    body["documents"] = list(documents)
    return server.client.put(f"/v1/indexes/{name}/documents", json=body)


def expect_error(response: Any, status: int, code: str, *words: str) -> None:
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert sorted(error) == ["code", "cure", "message"]
    for word in words:
        assert word in f"{error['message']}; {error['cure']}"
    assert "/tmp" not in response.text
    assert "Traceback" not in response.text
