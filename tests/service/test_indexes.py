"""Indexes over HTTP answer what the library does, and refuse what they cannot answer."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import threading
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from colmodern import Collection, Encoder, PlaidIndex, SpanSettings
from colmodern.errors import InputError
from colmodern.service.context import RequestContext, answered_in_time
from colmodern.service.errors import ServiceError
from colmodern.service.index_bodies import (
    ChangeAnswer,
    DocumentAnswer,
    ExplanationAnswer,
    IndexAnswer,
    IndexesAnswer,
    SearchAnswer,
)

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
ODD_TEXTS = [
    '  two files\r\nand a\ttab \\ "quoted" <b>file</b> & more\u2028line',
    "a file 👩\u200d🚀 with 🇩🇪 flags and e\u0301 accents, naïve façade",
    "ファイルを復元する方法 の説明, file",
    "\u202efile turned around\u202c and \ufeff a mark",
]
JSON = {"Content-Type": "application/json"}
CLOSE = 1e-5  # the server encodes with another number of threads: floats are rounded otherwise
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> dict[str, str]:
    """A collection, an index of embeddings alone, one without a fingerprint, and an empty one."""
    folder = tmp_path_factory.mktemp("served")
    filled(folder / "docs", encoder).close()
    Collection.create(folder / "empty", encoder).close()
    embeddings = encoder.encode_documents([str(record["text"]) for record in RECORDS])
    ids = [str(record["id"]) for record in RECORDS]
    PlaidIndex.build(embeddings, folder / "bare", ids).close()
    unknown = type(embeddings)(embeddings.values, embeddings.offsets)
    PlaidIndex.build(unknown, folder / "unknown", ids).close()
    return {name: str(folder / name) for name in ("docs", "bare", "unknown", "empty")}


@pytest.fixture(scope="module")
def served(folders: dict[str, str], encoder: Encoder, running: Any) -> Any:
    """A server of these, which tests do not change."""
    return running(encoder, indexes=folders, read_only=True, limits={"k": 50, "documents": 5})


@pytest.fixture
def changing(tmp_path: Path, encoder: Encoder, make_server: Any) -> Any:
    """A server of a collection and an index of embeddings alone, which a test may change."""
    filled(tmp_path / "docs", encoder).close()
    embeddings = encoder.encode_documents([str(record["text"]) for record in RECORDS])
    PlaidIndex.build(embeddings, tmp_path / "bare", [str(r["id"]) for r in RECORDS]).close()
    names = ("docs", "bare")
    return make_server(indexes={name: str(tmp_path / name) for name in names}, refresh_s=0.05)


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


def test_indexes_are_listed_with_their_facts(served: Any, folders: dict[str, str]) -> None:
    listed = answer(served.client.get("/v1/indexes"), IndexesAnswer)["indexes"]
    facts = {index["name"]: index for index in listed}
    assert list(facts) == ["bare", "docs", "empty", "unknown"]
    takes_texts = {name: index["takes_texts"] for name, index in facts.items()}
    assert takes_texts == {"bare": True, "docs": True, "empty": True, "unknown": False}
    assert [facts[name]["spans"] for name in ("docs", "bare")] == [True, False]
    for name, folder in folders.items():
        whole = answer(served.client.get(f"/v1/indexes/{name}"), IndexAnswer)
        assert whole | facts[name] == whole
        kind = PlaidIndex.load if name in ("bare", "unknown") else Collection.open
        with_version = kind(folder)
        assert whole["index_version"] == with_version.version
        assert whole["documents"] == len(with_version)
        assert folder not in json.dumps(whole)
    assert whole["segments"] == 0  # the last one is empty
    whole = served.client.get("/v1/indexes/docs").json()
    assert whole["model"] == "colmodern/tiny"
    assert whole["index_settings"]["nbits"] == 4


@pytest.mark.parametrize("exact", [False, True])
def test_a_search_answers_what_the_collection_does(
    served: Any, folders: dict[str, str], exact: bool
) -> None:
    with Collection.open(folders["docs"], device="cpu") as collection:
        expected = collection.search(QUERY, 2, exact=exact)
        body = search(served, queries=QUERY, k=2, exact=exact)
        assert body["index_version"] == collection.version
    assert body["is_complete"] is True
    assert list(body["took_ms"]) == ["queue", "encode", "search"]
    for hit, known in zip(body["results"][0]["hits"], expected, strict=True):
        assert (hit["id"], hit["rank"]) == (known.doc_id, known.rank)
        assert hit["score"] == pytest.approx(known.score, abs=CLOSE)
        assert (hit["text"], hit["title"], hit["fields"]) == (known.text, known.title, known.fields)
        for name in ("spans", "title_spans"):
            assert len(hit[name]) == len(getattr(known, name))
            for span, (start, end, score) in zip(hit[name], getattr(known, name), strict=True):
                assert (span["start"], span["end"]) == (start, end)
                assert span["score"] == pytest.approx(score, abs=CLOSE)
    assert expected[0].fields == {"language": "en", "pages": [1, 2]}


def test_queries_are_answered_in_their_order(served: Any) -> None:
    texts = [QUERY, "water for pasta", "another name"]
    body = search(served, queries=texts, k=3)
    alone = [search(served, queries=text, k=3)["results"][0] for text in texts]
    assert [_ranking(result) for result in body["results"]] == [_ranking(one) for one in alone]
    assert [result["hits"][0]["id"] for result in body["results"]] == [
        "backup",
        "pasta",
        "rename/it",
    ]


def _ranking(result: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(hit["id"], pytest.approx(hit["score"], abs=1e-4)) for hit in result["hits"]]


def test_options_shape_the_answer(served: Any) -> None:
    assert [hit["id"] for hit in hits_of(served, queries="file", filter=["pasta"])] == ["pasta"]
    [hit] = hits_of(served, queries=QUERY, k=1, texts=False)
    assert "text" not in hit
    assert hit["spans"]
    [hit] = hits_of(served, queries=QUERY, k=1, spans=False)
    assert hit["spans"] == hit["title_spans"] == []
    [hit] = hits_of(served, queries=QUERY, k=1, spans={"max_spans": 1, "min_share": 0.01})
    assert len(hit["spans"]) == 1
    assert hits_of(served, "empty", queries=QUERY) == []
    assert len(hits_of(served, queries=QUERY, k=3, nprobe=1, n_candidates=3)) == 3


def test_rescoring_gives_exact_scores(served: Any, folders: dict[str, str]) -> None:
    with Collection.open(folders["docs"], device="cpu") as collection:
        expected = collection.rerank(QUERY, ["pasta", "backup", "rename/it"])
    body = search(served, queries=[QUERY, "pasta"], rescore=True)
    hits = body["results"][0]["hits"]
    assert [hit["id"] for hit in hits] == [hit.doc_id for hit in expected]
    for hit, known in zip(hits, expected, strict=True):
        assert hit["score"] == pytest.approx(known.score, abs=1e-4)
        spans = [(span["start"], span["end"]) for span in hit["spans"]]
        assert spans == [(start, end) for start, end, _ in known.spans]
    assert body["results"][1]["hits"][0]["id"] == "pasta"
    [hit] = hits_of(served, queries=QUERY, k=1, rescore=True, spans=False)
    assert hit["spans"] == []
    assert hits_of(served, "empty", queries=QUERY, rescore=True) == []
    response = served.client.post("/v1/indexes/bare/search", json={"queries": "x", "rescore": True})
    expect_error(response, 422, "invalid_value", "no texts", "leave rescore out")


def test_fields_filter_and_group_and_offsets_page(served: Any) -> None:
    def found(**body: Any) -> list[tuple[str, int]]:
        return [(hit["id"], hit["rank"]) for hit in hits_of(served, queries="file", **body)]

    assert found(filter={"language": "en"}) == [("backup", 1)]
    assert found(filter={"or": [{"pages": 2}, {"language": {"prefix": "x"}}]}) == [("backup", 1)]
    assert {i for i, _ in found(filter={"language": {"exists": False}})} == {"rename/it", "pasta"}
    everything = found(filter={})
    assert [*found(k=2), *found(k=2, offset=2)] == everything
    groups = hits_of(served, queries="file", group_by="language", texts=False)
    assert sorted(str(hit["group"]) for hit in groups) == ["None", "None", "en"]
    facts = served.client.get("/v1/indexes/docs").json()
    assert facts["fields"] == {"language": "text", "pages": "number"}


def test_embeddings_stand_for_texts(served: Any, encoder: Encoder) -> None:
    expected = _ranking(search(served, queries=QUERY)["results"][0])
    rows = encoder.encode_queries([QUERY])[0]
    whole = {"shape": list(rows.shape), "embedding": b64encode(rows.tobytes()).decode()}
    half = whole | {
        "embedding": b64encode(rows.astype("<f2").tobytes()).decode(),
        "dtype": "float16",
        "object": "embedding",
        "index": 0,
    }
    for embedding in (rows.tolist(), whole, {"embedding": rows.tolist()}, half):
        found = hits_of(served, embeddings=[embedding], spans=True)
        assert [(hit["id"], pytest.approx(hit["score"], abs=2e-2)) for hit in found] == expected
        assert found[0]["spans"]
    own = encoder.fingerprint("document")
    assert hits_of(served, "unknown", embeddings=[rows.tolist()])
    assert _ranking(search(served, embeddings=[whole], fingerprint=own)["results"][0]) == expected


def test_an_index_of_embeddings_alone_takes_texts_of_its_model(served: Any) -> None:
    assert [hit["id"] for hit in hits_of(served, "bare", queries=QUERY, k=1)] == ["backup"]
    [hit] = hits_of(served, "bare", queries=QUERY, k=1)
    assert sorted(hit) == ["id", "rank", "score"]
    whole = served.client.get("/v1/indexes/bare/documents/backup")
    assert answer(whole, DocumentAnswer)["text"] is None
    body = {"query": QUERY, "doc_id": "backup"}
    told = answer(served.client.post("/v1/indexes/bare/explain", json=body), ExplanationAnswer)
    assert [match["query_word"] for match in told["alignment"]][2:5] == ["restore", "one", "file"]
    assert told["text"] is None
    assert told["heat_map"]["n_document_tokens"] > 10


def test_an_explanation_shows_stages_words_and_passages(served: Any) -> None:
    body = {"query": QUERY, "doc_id": "backup", "k": 1}
    told = answer(served.client.post("/v1/indexes/docs/explain", json=body), ExplanationAnswer)
    [hit] = hits_of(served, queries=QUERY, k=1)
    assert told["is_result"]
    assert (told["lost_at"], told["reason"]) == (None, "result 1 of 1")
    assert told["score"] == pytest.approx(hit["score"], abs=1e-3)
    assert (told["text"], told["spans"]) == (hit["text"], hit["spans"])
    for match in told["alignment"]:
        words = {told["encoded_text"][start:end].lower() for start, end in match["characters"]}
        assert words in ({match["document_word"].removeprefix("##").lower()}, set())
    shown = told["heat_map"]
    for row, column, match in zip(
        shown["similarities"], shown["matches"], told["alignment"], strict=True
    ):
        assert row[column] == max(row) == pytest.approx(match["similarity"], abs=1e-4)
        assert shown["positions"][column] == match["document_token"]
    body = {"query": QUERY, "doc_id": "pasta", "k": 1}
    told = answer(served.client.post("/v1/indexes/docs/explain", json=body), ExplanationAnswer)
    assert not told["is_result"]
    assert "raise k" in told["reason"]
    assert told["stages"][-1]["rank"] == 3


def test_documents_are_put_read_and_deleted(changing: Any) -> None:
    before = search(changing, queries="walrus")["index_version"]
    body = answer(
        put(
            changing,
            {"id": "new", "title": "Seal", "text": "The walrus sleeps.", "fields": {"legs": 0}},
            {"id": "pasta", "text": "Rice instead."},
        ),
        ChangeAnswer,
    )
    assert (body["changed"], body["documents"]) == (2, 4)
    assert list(body["took_ms"]) == ["queue", "encode", "write"]
    found = search(changing, queries="walrus", k=1)
    assert found["index_version"] == body["index_version"] != before
    assert found["results"][0]["hits"][0]["fields"] == {"legs": 0}
    path = "/v1/indexes/docs/documents"
    whole = answer(changing.client.get(f"{path}/new"), DocumentAnswer)
    assert (whole["title"], whole["text"]) == ("Seal", "The walrus sleeps.")
    assert changing.client.get(f"{path}/pasta").json()["text"] == "Rice instead."
    assert changing.client.get(f"{path}/pasta").json()["title"] == ""
    ids = {"ids": ["new", "rename/it", "new"]}
    body = answer(changing.client.request("DELETE", path, json=ids), ChangeAnswer)
    assert (body["changed"], body["documents"]) == (2, 2)
    expect_error(changing.client.get(f"{path}/new"), 404, "unknown_document")
    both = {"ids": ["backup", "new"]}
    response = changing.client.request("DELETE", path, json=both)
    expect_error(response, 404, "unknown_document", "'new'")
    assert changing.client.get(f"{path}/backup").status_code == 200  # all or none


def test_odd_texts_and_ids_come_back_with_right_passages(changing: Any) -> None:
    ids = ["a b", "ü/🚀", "<img onerror=alert(1)>", "..%2f..", "{doc_id}", "a?b#c"]
    ids += ["backup\n", "a\nb", "\r\n"]
    documents = [{"id": doc_id, "text": f"unused number {i}"} for i, doc_id in enumerate(ids)]
    documents += [{"id": f"t{i}", "text": text} for i, text in enumerate(ODD_TEXTS)]
    answer(put(changing, *documents), ChangeAnswer)
    for i, text in enumerate(ODD_TEXTS):
        [hit] = hits_of(changing, queries="file", k=1, filter=[f"t{i}"])
        assert hit["text"] == text
        words = [text[span["start"] : span["end"]] for span in hit["spans"]]
        assert any("file" in word for word in words), words
        assert all(word == word.strip() for word in words)
    for i, doc_id in enumerate(ids):
        [hit] = hits_of(changing, queries="number", k=1, filter=[doc_id])
        assert (hit["id"], hit["text"]) == (doc_id, f"unused number {i}")
        quoted = "/".join(map(_quoted, doc_id.split("/")))
        response = changing.client.get(f"/v1/indexes/docs/documents/{quoted}")
        assert answer(response, DocumentAnswer)["id"] == doc_id


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_an_index_of_embeddings_alone_takes_embeddings_or_texts(
    changing: Any, encoder: Encoder
) -> None:
    rows = encoder.encode_documents(["The walrus sleeps."])[0]
    embedding = {"shape": list(rows.shape), "embedding": b64encode(rows.tobytes()).decode()}
    by_rows = {"id": "rows", "embedding": rows.tolist()}
    answer(
        put(changing, by_rows, {"id": "bytes", "embedding": embedding}, name="bare"), ChangeAnswer
    )
    answer(put(changing, {"id": "text", "text": "The walrus sleeps."}, name="bare"), ChangeAnswer)
    found = hits_of(changing, "bare", queries="walrus", k=3)
    assert {hit["id"] for hit in found} == {"rows", "bytes", "text"}
    assert len({round(hit["score"], 3) for hit in found}) == 1
    both = [by_rows, {"id": "t", "text": "x"}]
    expect_error(put(changing, *both, name="bare"), 422, "invalid_value", "embeddings of all")
    fields = {"id": "t", "text": "salt of the walrus", "fields": {"year": 2021}}
    answer(put(changing, fields, name="bare"), ChangeAnswer)
    assert hits_of(changing, "bare", queries="x", filter={"year": {"gte": 2020}})[0]["id"] == "t"
    filed = {**by_rows, "fields": {"year": 1999, "tags": ["old", "dry"], "author": {"name": "Ann"}}}
    answer(put(changing, filed, {"id": "none", "embedding": embedding}, name="bare"), ChangeAnswer)
    for filter in ({"year": {"lt": 2000}}, {"tags": "dry"}, {"author.name": "Ann"}):
        assert [hit["id"] for hit in hits_of(changing, "bare", queries="x", filter=filter)] == [
            "rows"
        ]
    groups = hits_of(changing, "bare", queries="walrus", group_by="year", k=9)
    assert {hit["group"] for hit in groups} == {2021, 1999, None}
    answer(put(changing, by_rows, name="bare"), ChangeAnswer)  # in place of the one with fields
    assert not hits_of(changing, "bare", queries="x", filter={"tags": "dry"})
    response = put(changing, by_rows, name="bare", fingerprint="0" * 64)
    expect_error(response, 422, "invalid_value", "another encoder")
    expect_error(put(changing, by_rows), 422, "invalid_value", "keeps the text")


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 422, "invalid_value", ["give queries, or embeddings"]),
        ({"queries": "x", "embeddings": [[[1.0]]]}, 422, "invalid_value", ["give queries"]),
        (
            {"queries": ""},
            422,
            "invalid_value",
            ["queries[0] is empty", "send a query with some text"],
        ),
        ({"queries": []}, 422, "invalid_value", ["queries"]),
        ({"queries": ["x"] * 33}, 422, "too_many", ["33", "32"]),
        ({"queries": "x", "k": 0}, 422, "invalid_value", ["k", "greater than or equal to 1"]),
        ({"queries": "x", "k": 51}, 422, "invalid_value", ["at most 50"]),
        ({"queries": "x", "k": 10**30}, 422, "invalid_value", ["k"]),
        ({"queries": "x", "nprobe": 10**30}, 422, "invalid_value", ["nprobe"]),
        ({"queries": "x", "K": 1}, 422, "invalid_value", ["K: unknown field"]),
        ({"queries": "x" * 200_001}, 422, "text_too_long", ["200,000"]),
        ({"queries": "\ud800"}, 422, "invalid_value", ["surrogate"]),
        ({"queries": "x", "filter": ["nobody"]}, 422, "invalid_value", ["none of them"]),
        (
            {"queries": "x", "filter": {"lang": "en"}},
            422,
            "invalid_value",
            ["which no document has"],
        ),
        ({"queries": "x", "filter": {"language": 3}}, 422, "invalid_value", ["the number 3"]),
        ({"queries": "x", "filter": {"language": {"is": 3}}}, 422, "invalid_value", ["operator"]),
        ({"queries": "x", "filter": "language"}, 422, "invalid_value", ["filter"]),
        ({"queries": "x", "group_by": "pages"}, 422, "invalid_value", ["has 2 values"]),
        ({"queries": "x", "offset": -1}, 422, "invalid_value", ["offset"]),
        ({"queries": "x", "offset": 41}, 422, "invalid_value", ["offset + k is 51", "at most 50"]),
        ({"queries": "x", "fingerprint": "y"}, 422, "invalid_value", ["leave it out for texts"]),
        ({"queries": "x", "rescore": True, "offset": 2}, 422, "invalid_value", ["offset"]),
        ({"queries": "x", "timeout_ms": 0}, 422, "invalid_value", ["timeout_ms"]),
        ({"queries": "x", "timeout_ms": 0.001}, 503, "timeout", []),
        ({"embeddings": [[[1.0, 2.0], [1.0]]]}, 422, "invalid_value", ["different lengths"]),
        ({"embeddings": [[[1.0, 2.0]]]}, 422, "invalid_value", ["dim 2", "128"]),
        ({"embeddings": [[]]}, 422, "invalid_value", ["no numbers"]),
        ({"embeddings": [[[]]]}, 422, "invalid_value", ["no numbers"]),
        ({"embeddings": [[[1e39] * 128]]}, 422, "invalid_value", ["not finite"]),
        ({"embeddings": [{"embedding": "AAAA"}]}, 422, "invalid_value", ["without shape"]),
        (
            {"embeddings": [{"embedding": "AAAA", "shape": [1, 128]}]},
            422,
            "invalid_value",
            ["no base64 of float32"],
        ),
        (
            {"embeddings": [{"embedding": "AAAAAA==", "shape": [1, 128]}]},
            422,
            "invalid_value",
            ["1 numbers"],
        ),
        (
            {"embeddings": [[[0.1] * 128]], "fingerprint": "0" * 64},
            422,
            "invalid_value",
            ["another encoder"],
        ),
    ],
)
def test_unusable_searches_are_refused(
    served: Any, body: dict[str, Any], status: int, code: str, words: list[str]
) -> None:
    response = served.client.post("/v1/indexes/docs/search", content=json.dumps(body), headers=JSON)
    expect_error(response, status, code, *words)


def test_what_is_not_there_or_cannot_be_is_refused(served: Any) -> None:
    client, body = served.client, {"queries": "x"}
    expect_error(client.post("/v1/indexes/no/search", json=body), 404, "unknown_index", "docs")
    expect_error(client.get("/v1/indexes/no"), 404, "unknown_index")
    expect_error(client.get("/v1/indexes/docs/documents/no"), 404, "unknown_document")
    told = {"query": "x", "doc_id": "no"}
    expect_error(client.post("/v1/indexes/docs/explain", json=told), 404, "unknown_document")
    unnamed = client.post("/v1/indexes/unknown/search", json=body)
    expect_error(unnamed, 422, "invalid_value", "does not name the model", "send embeddings")
    spans = client.post("/v1/indexes/bare/search", json={**body, "spans": True})
    expect_error(spans, 422, "invalid_value", "characters")
    wrong = client.post("/v1/indexes/docs/search", content="{", headers=JSON)
    expect_error(wrong, 400, "invalid_json")


def test_a_server_that_is_read_only_changes_nothing(served: Any) -> None:
    document = {"id": "x", "text": "y"}
    expect_error(put(served, document), 403, "read_only")
    response = served.client.request(
        "DELETE", "/v1/indexes/docs/documents", json={"ids": ["pasta"]}
    )
    expect_error(response, 403, "read_only")
    assert served.client.get("/v1/indexes/docs/documents/pasta").status_code == 200


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], ["documents"]),
        ([{"id": "", "text": "x"}], ["id"]),
        ([{"id": "x"}], ["documents[0] has no text"]),
        ([{"text": "x"}], ["documents[0].id"]),
        ([{"id": "x", "text": "a"}, {"id": "x", "text": "b"}], ["both have the id 'x'"]),
        ([{"id": "\0", "text": "x"}], ["NUL"]),
        ([{"id": "x", "text": "\udc00"}], ["surrogate"]),
        ([{"id": "x", "text": "y", "other": 1}], ["documents[0].other: unknown field"]),
        ([{"id": "x", "text": "y", "fields": {"a": float("nan")}}], ["field"]),
        ([{"id": "x", "text": "y" * 200_001}], ["200,000"]),
    ],
)
def test_unusable_documents_change_nothing(
    changing: Any, documents: list[dict[str, Any]], words: list[str]
) -> None:
    before = changing.client.get("/v1/indexes").json()
    content = json.dumps({"documents": documents})
    response = changing.client.put("/v1/indexes/docs/documents", content=content, headers=JSON)
    assert response.status_code == 422
    expect_error(response, 422, response.json()["error"]["code"], *words)
    assert changing.client.get("/v1/indexes").json() == before


@pytest.mark.parametrize("n_rounds", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_every_answer_is_one_state_while_a_writer_changes_it(changing: Any, n_rounds: int) -> None:
    """A round replaces all documents in one change; no answer mixes two rounds."""

    def documents(number: int) -> list[dict[str, str]]:
        names = ("backup", "rename/it", "pasta")
        return [{"id": name, "text": f"round {number} of file {name}"} for name in names]

    seen: list[list[tuple[int, str]]] = [[] for _ in range(4)]
    faults: list[object] = []
    is_over = threading.Event()
    answer(put(changing, *documents(0)), ChangeAnswer)

    def look(own: list[tuple[int, str]]) -> None:
        try:
            while not is_over.is_set():
                body = search(changing, queries=["file", "round of pasta"], k=3)
                for result in body["results"]:
                    [number] = {int(hit["text"].split()[1]) for hit in result["hits"]}
                    assert len(result["hits"]) == 3
                    own.append((number, body["index_version"]))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=look, args=(own,)) for own in seen]
    for thread in threads:
        thread.start()
    versions = {}
    for number in range(1, n_rounds + 1):
        versions[number] = answer(put(changing, *documents(number)), ChangeAnswer)["index_version"]
    is_over.set()
    for thread in threads:
        thread.join(60)
    assert not faults
    for own in seen:
        assert own == sorted(own, key=lambda item: item[0])  # nobody goes back
        assert all(versions.get(number, version) == version for number, version in own)
    assert len({number for own in seen for number, _ in own}) > n_rounds / 4


def test_changes_of_another_process_are_seen(changing: Any, tmp_path: Path) -> None:
    other = Collection.open(tmp_path / "docs", device="cpu")
    other.update([("new", "The walrus sleeps.")])
    other.delete(["pasta"])
    _wait_until(lambda: search(changing, queries="x")["index_version"] == other.version)
    assert hits_of(changing, queries="walrus", k=1)[0]["id"] == "new"
    answer(put(changing, {"id": "more", "text": "More."}), ChangeAnswer)
    other.refresh()
    assert set(other) == {"backup", "rename/it", "new", "more"}


def _wait_until(is_so: Any) -> None:
    for _ in range(400):
        if is_so():
            return
        threading.Event().wait(0.025)
    raise AssertionError("it never came to be")


def test_a_damaged_change_of_another_process_is_told(changing: Any, tmp_path: Path) -> None:
    version = search(changing, queries="x")["index_version"]
    manifest = tmp_path / "docs" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:100])
    path = "/v1/indexes/docs"
    _wait_until(lambda: changing.client.get(path).json()["fault"])
    assert "docs/manifest.json" in changing.client.get(path).json()["fault"]
    assert str(tmp_path) not in changing.client.get(path).text
    assert search(changing, queries="x")["index_version"] == version
    expect_error(put(changing, {"id": "x", "text": "y"}), 503, "index_unavailable")
    manifest.write_bytes(whole)
    _wait_until(lambda: changing.client.get(path).json()["fault"] is None)
    answer(put(changing, {"id": "x", "text": "y"}), ChangeAnswer)


def test_a_full_queue_is_told(folders: dict[str, str], make_server: Any) -> None:
    server = make_server(indexes=folders, batching={"queue": 1}, search_threads=1)
    expected = _ranking(search(server, queries=QUERY)["results"][0])
    responses: list[Any] = []

    def ask() -> None:
        body = {"queries": QUERY}
        responses.append(server.client.post("/v1/indexes/docs/search", json=body))

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {response.status_code for response in responses} == {200, 429}
    for response in responses:
        if response.status_code == 200:
            assert _ranking(response.json()["results"][0]) == expected
        else:
            expect_error(response, 429, "overloaded")
            assert response.headers["retry-after"]


def test_work_after_the_deadline_leaves_no_error_behind() -> None:
    faults: list[object] = []

    def fail() -> None:
        raise InputError("too late")

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, fault: faults.append(fault))
        context = RequestContext.of_server(1)
        time.sleep(0.01)  # the deadline has passed
        with pytest.raises(ServiceError, match="1 ms"):
            await answered_in_time(context, loop.run_in_executor(None, fail))
        await asyncio.sleep(0.05)
        gc.collect()

    asyncio.run(ask())
    assert not faults


def test_an_index_that_is_being_changed_is_busy(changing: Any) -> None:
    with changing.service.indexes["docs"]._changing:
        response = put(changing, {"id": "x", "text": "y"}, timeout_ms=300)
        expect_error(response, 409, "busy")
        assert response.headers["retry-after"] == "1"
        assert hits_of(changing, queries=QUERY, k=1)  # readers do not wait
    answer(put(changing, {"id": "x", "text": "y"}), ChangeAnswer)


def test_spans_settings_are_those_of_the_library(served: Any, folders: dict[str, str]) -> None:
    options = {"max_spans": 2, "min_share": 0.0, "max_gap": 0, "max_length": 12}
    with Collection.open(folders["docs"], device="cpu") as collection:
        [expected] = collection.search(QUERY, 1, spans=SpanSettings(**options))
    [hit] = hits_of(served, queries=QUERY, k=1, spans=options)
    assert [(span["start"], span["end"]) for span in hit["spans"]] == [
        (start, end) for start, end, _ in expected.spans
    ]
    assert np.isclose(hit["score"], expected.score)


def test_a_folder_that_cannot_be_written_is_named_as_the_fault(
    changing: Any, tmp_path: Path
) -> None:
    lock = tmp_path / "docs" / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    response = put(changing, {"id": "new", "text": "Walrus."})
    expect_error(response, 403, "not_writable", "cannot write the folder")
    assert "retry-after" not in response.headers
    assert hits_of(changing, queries="file")


@pytest.mark.parametrize("name", ["docs", "bare"])
def test_a_full_disk_is_named_and_changes_nothing(
    changing: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = changing.client.get(f"/v1/indexes/{name}").json()

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        response = put(changing, {"id": "new", "text": "Walrus."}, name=name)
    expect_error(response, 507, "disk_full", "disk is full, and the change was not made", "free")
    assert changing.client.get(f"/v1/indexes/{name}").json() == before
    answer(put(changing, {"id": "new", "text": "Walrus."}, name=name), ChangeAnswer)


@pytest.mark.parametrize("wrong", [{"k": True}, {"k": "3"}, {"spans": "yes"}, {"offset": "1"}])
def test_values_of_another_type_are_refused(served: Any, wrong: dict[str, Any]) -> None:
    body = {"queries": "x", **wrong}
    response = served.client.post("/v1/indexes/docs/search", json=body)
    expect_error(response, 422, "invalid_value", *wrong)


def test_long_ids_and_filters_of_many_values_are_refused(
    tmp_path: Path, encoder: Encoder, make_server: Any
) -> None:
    filled(tmp_path / "docs", encoder).close()
    limits = {"id_length": 8, "filter_values": 3}
    server = make_server(indexes={"docs": str(tmp_path / "docs")}, limits=limits)
    refused = put(server, {"id": "short", "text": "a"}, {"id": "x" * 9, "text": "a"})
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["message"] == "documents[1].id has 9 characters, and this server takes 8"
    assert "limits.id_length" in error["cure"]
    assert put(server, {"id": "x" * 8, "text": "a"}).json()["changed"] == 1
    for filter in ({"or": [{"a": [1, 2]}, {"b": {"in": [3], "gt": 0}}]}, ["1", "2", "3", "4"]):
        body = {"queries": "a", "filter": filter}
        refused = server.client.post("/v1/indexes/docs/search", json=body)
        assert refused.status_code == 422
        message = refused.json()["error"]["message"]
        assert message == "filter has 4 values, and this server takes 3"
