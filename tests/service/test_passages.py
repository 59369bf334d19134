"""A served collection of passages: what it answers, how it changes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service.asking import answer, expect_error, hits_of, put, search

from colmodern import Collection, Encoder, RemoteIndex
from colmodern.passages import PassageHit
from colmodern.service.index_bodies import ChangeAnswer, DocumentAnswer, ExplanationAnswer

LONG = "Copy a folder every night. " * 6 + "Restore it from the tape. " + "Then rest. " * 12
RECORDS = [
    {"id": "guide", "title": "The guide", "text": LONG, "year": 2021},
    {"id": "note", "text": "Nothing of this is about the tape drive.", "year": 2019},
]
QUERY = "restore from the tape"
PATH = "/v1/indexes/docs/documents"


@pytest.fixture(scope="module")
def split() -> Encoder:
    options: dict[str, Any] = {"overflow": "split", "document_length": 24, "overlap": 4}
    return Encoder.from_pretrained("colmodern/tiny", device="cpu", **options)


@pytest.fixture
def passages(tmp_path: Path, split: Encoder, make_server: Any) -> Any:
    """A server of a collection whose documents are ranked by their best passages."""
    return _served(tmp_path, split, make_server)


def _served(folder: Path, split: Encoder, make_server: Any, **options: Any) -> Any:
    options = {"passages": "best", "device": "cpu", **options}
    with Collection.create(folder / "docs", split, **options) as collection:
        collection.add(RECORDS)
    limits = {"filter_values": 10}
    return make_server(split, indexes={"docs": str(folder / "docs")}, refresh_s=0.05, limits=limits)


def _stored(folder: Path, split: Encoder) -> list[str]:
    """The ids of the passages on disk."""
    with Collection.open(folder / "docs", encoder=split, read_only=True) as collection:
        collection.check()
        return list(collection._state.index.doc_ids)


def test_it_is_searched_explained_read_and_loses_documents(passages: Any, split: Encoder) -> None:
    [first, second] = hits_of(passages, queries=QUERY, k=2)
    assert [first["id"], second["id"]] == ["guide", "note"]
    assert any("tape" in LONG[span["start"] : span["end"]] for span in first["spans"])
    rows = split.encode_queries([QUERY])[0].tolist()
    options = {"k": 1, "exact": True, "offset": 1}
    assert [hit["id"] for hit in hits_of(passages, embeddings=[rows], **options)] == ["note"]
    assert len(search(passages, queries=["tape", "rest"], k=2)["results"]) == 2
    for filter in (["note"], {"year": {"lt": 2020}}):
        assert [hit["id"] for hit in hits_of(passages, queries="tape", filter=filter)] == ["note"]
    body = {"query": QUERY, "doc_id": "guide"}
    response = passages.client.post("/v1/indexes/docs/explain", json=body)
    explained = answer(response, ExplanationAnswer)
    assert (explained["doc_id"], explained["text"], explained["is_result"]) == ("guide", LONG, True)
    assert explained["passage_id"] == f"guide#{first['passage']['number']}"
    assert explained["spans"] == first["spans"]
    assert answer(passages.client.get(f"{PATH}/guide"), DocumentAnswer)["text"] == LONG
    response = passages.client.request("DELETE", PATH, json={"ids": ["guide"]})
    assert answer(response, ChangeAnswer)["documents"] == 1


@pytest.mark.parametrize("rescore", [False, True])
def test_hits_name_the_passages_that_the_library_names(
    passages: Any, tmp_path: Path, split: Encoder, rescore: bool
) -> None:
    hits = hits_of(passages, queries=QUERY, k=2, rescore=rescore)
    with Collection.open(tmp_path / "docs", encoder=split) as collection:
        own = collection.search(QUERY, k=2)
        if rescore:
            own = collection.rerank(QUERY, own)
    for hit, expected in zip(hits, own, strict=True):
        start, end = expected.characters
        assert hit["passage"] == {"number": expected.passage, "start": start, "end": end}
        assert (hit["id"], hit["score"]) == (expected.doc_id, pytest.approx(expected.score))
    passage = hits[0]["passage"]
    assert passage["number"] > 0
    assert "Restore it from the tape." in LONG[passage["start"] : passage["end"]]
    assert passage["end"] - passage["start"] < len(LONG) / 2
    assert "passage" in hits_of(passages, queries=QUERY, texts=False)[0]
    assert passages.client.get("/v1/indexes/docs").json()["passages"] == "best"


def test_a_passage_without_characters_has_its_number(
    tmp_path: Path, split: Encoder, make_server: Any
) -> None:
    server = _served(tmp_path, split, make_server, spans=False, passages="sum")
    first = hits_of(server, queries=QUERY)[0]
    assert first["passage"] == {"number": first["passage"]["number"], "start": None, "end": None}
    assert server.client.get("/v1/indexes/docs").json()["passages"] == "sum"
    answer(put(server, {"id": "new", "text": LONG}), ChangeAnswer)
    assert server.client.get(PATH + "/new").json()["text"] == LONG


def test_put_documents_are_split_as_the_library_splits_them(
    passages: Any, tmp_path: Path, split: Encoder
) -> None:
    long = "Pasta boils in water. " * 20
    sent = [
        {"id": "soup#1", "title": "Soup", "text": long, "fields": {"year": 2024}},
        {"id": "guide", "text": "Short now."},
        {"id": "empty", "text": ""},
    ]
    body = answer(put(passages, *sent), ChangeAnswer)
    assert (body["changed"], body["documents"]) == (3, 4)
    with Collection.create(tmp_path / "other", split, passages="best", device="cpu") as other:
        other.add(RECORDS)
        records = [{**record, **record.get("fields", {})} for record in sent]
        other.update([{k: v for k, v in each.items() if k != "fields"} for each in records])
        expected = list(other._state.index.doc_ids)
        own = other.search("pasta", k=4)
    assert sorted(_stored(tmp_path, split)) == sorted(expected)
    assert sum(passage.startswith("guide#") for passage in expected) == 1  # of many before
    hits = hits_of(passages, queries="pasta", k=4)
    assert [hit["id"] for hit in hits] == [hit.doc_id for hit in own]
    assert [hit["passage"]["number"] for hit in hits] == [hit.passage for hit in own]
    assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in own], abs=0.05)
    found = hits_of(passages, queries="pasta", filter={"year": 2024})
    assert [hit["id"] for hit in found] == ["soup#1"]
    again = put(passages, {"id": "soup#1", "text": "Other."}, replace=False)
    expect_error(again, 422, "invalid_value", "'soup#1' is in the collection already")
    answer(put(passages, {"id": "extra", "text": long}, replace=False), ChangeAnswer)
    response = passages.client.request("DELETE", PATH, json={"ids": ["extra"]})
    assert response.status_code == 200
    response = passages.client.request("DELETE", PATH, json={"ids": ["soup#1", "guide"]})
    assert answer(response, ChangeAnswer)["documents"] == 2
    assert {name.rpartition("#")[0] for name in _stored(tmp_path, split)} == {"note", "empty"}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"id": "new", "embedding": [[0.5] * 128]}, ["has embeddings", "send its text alone"]),
        ({"id": "new"}, ["documents[1] has no text"]),
        ({"id": "fine", "text": "Twice."}, ["'fine'", "make ids unique"]),
    ],
)
def test_wrong_documents_change_nothing(
    passages: Any, tmp_path: Path, split: Encoder, sent: dict[str, Any], words: list[str]
) -> None:
    before, stored = passages.client.get("/v1/indexes/docs").json(), _stored(tmp_path, split)
    response = put(passages, {"id": "fine", "text": "A tape."}, sent)
    assert response.status_code == 422
    error = response.json()["error"]
    assert all(word in f"{error['message']}; {error['cure']}" for word in words), error
    assert passages.client.get("/v1/indexes/docs").json() == before
    assert _stored(tmp_path, split) == stored


def test_grouping_is_refused_by_name(passages: Any) -> None:
    response = passages.client.post(
        "/v1/indexes/docs/search", json={"queries": "tape", "group_by": "year"}
    )
    message = "group_by is 'year', and the collection groups passages by document"
    expect_error(response, 422, "invalid_value", message, "leave group_by out")


def test_a_remote_index_gives_the_passages_too(passages: Any, split: Encoder) -> None:
    with_spans, plain = (
        RemoteIndex(passages.url, "docs").search(split.encode_queries([QUERY])[0], 2, spans=spans)
        for spans in (True, False)
    )
    [first, _] = hits_of(passages, queries=QUERY, k=2)
    for hit in (with_spans[0], plain[0]):
        assert isinstance(hit, PassageHit)
        assert hit.passage == first["passage"]["number"]
        assert hit.characters == (first["passage"]["start"], first["passage"]["end"])
    assert with_spans[0].spans
    assert not plain[0].spans
    assert np.isclose(plain[0].score, first["score"], atol=1e-3)
