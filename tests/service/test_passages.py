"""A served collection of passages: what it answers, and what it refuses with a cure that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from service.asking import answer, expect_error, hits_of, put, search

from colmodern import Collection, Encoder
from colmodern.service.index_bodies import ChangeAnswer, DocumentAnswer, ExplanationAnswer

LONG = "Copy a folder every night. " * 6 + "Restore it from the tape. " + "Then rest. " * 12
RECORDS = [
    {"id": "guide", "text": LONG, "year": 2021},
    {"id": "note", "text": "Nothing of this is about the tape drive.", "year": 2019},
]


@pytest.fixture(scope="module")
def split() -> Encoder:
    options: dict[str, Any] = {"overflow": "split", "document_length": 24, "overlap": 4}
    return Encoder.from_pretrained("colmodern/tiny", device="cpu", **options)


@pytest.fixture
def passages(tmp_path: Path, split: Encoder, make_server: Any) -> Any:
    """A server of a collection whose documents are ranked by their best passages."""
    collection = Collection.create(tmp_path / "docs", split, passages="best", device="cpu")
    collection.add(RECORDS)
    collection.close()
    return make_server(split, indexes={"docs": str(tmp_path / "docs")}, refresh_s=0.05)


def test_it_is_searched_explained_read_and_loses_documents(passages: Any, split: Encoder) -> None:
    [first, second] = hits_of(passages, queries="restore from the tape", k=2)
    assert [first["id"], second["id"]] == ["guide", "note"]
    assert any("tape" in LONG[span["start"] : span["end"]] for span in first["spans"])
    rows = split.encode_queries(["restore from the tape"])[0].tolist()
    options = {"k": 1, "exact": True, "offset": 1}
    assert [hit["id"] for hit in hits_of(passages, embeddings=[rows], **options)] == ["note"]
    assert len(search(passages, queries=["tape", "rest"], k=2)["results"]) == 2
    for filter in (["note"], {"year": {"lt": 2020}}):
        assert [hit["id"] for hit in hits_of(passages, queries="tape", filter=filter)] == ["note"]
    body = {"query": "restore from the tape", "doc_id": "guide"}
    response = passages.client.post("/v1/indexes/docs/explain", json=body)
    explained = answer(response, ExplanationAnswer)
    assert (explained["doc_id"], explained["text"], explained["is_result"]) == ("guide", LONG, True)
    number = int(explained["passage_id"].removeprefix("guide#"))
    assert number > 0
    assert explained["spans"] == first["spans"]
    path = "/v1/indexes/docs/documents"
    assert answer(passages.client.get(f"{path}/guide"), DocumentAnswer)["text"] == LONG
    response = passages.client.request("DELETE", path, json={"ids": ["guide"]})
    assert answer(response, ChangeAnswer)["documents"] == 1


@pytest.mark.parametrize("sent", [{"text": "A tape."}, {"embedding": [[0.5] * 128]}])
def test_documents_are_refused_with_a_cure_that_works(
    passages: Any, tmp_path: Path, split: Encoder, sent: dict[str, Any]
) -> None:
    before = passages.client.get("/v1/indexes/docs").json()
    response = put(passages, {"id": "new", **sent})
    what = "documents has 1 item, and the collection keeps passages of its documents"
    expect_error(response, 422, "invalid_value", what, "Collection.update")
    assert "embeddings" not in response.json()["error"]["message"]
    assert passages.client.get("/v1/indexes/docs").json() == before
    with Collection.open(tmp_path / "docs", encoder=split) as collection:
        collection.update([("new", "A tape.")])
    passages.service.indexes["docs"].refresh()
    assert passages.client.get("/v1/indexes/docs/documents/new").json()["text"] == "A tape."


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"rescore": True}, "rescore is true, and the collection keeps passages"),
        (
            {"group_by": "year"},
            "group_by is 'year', and the collection groups passages by document",
        ),
    ],
)
def test_options_that_passages_lack_are_refused_by_name(
    passages: Any, option: dict[str, Any], message: str
) -> None:
    [name] = option
    response = passages.client.post("/v1/indexes/docs/search", json={"queries": "tape", **option})
    expect_error(response, 422, "invalid_value", message, f"leave {name} out")
