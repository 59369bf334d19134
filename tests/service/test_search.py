"""Searches over HTTP answer what the library does, and refuse what they cannot answer."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from service.asking import JSON, QUERY, answer, expect_error, hits_of, search

from colmodern import Collection, Encoder, SpanSettings
from colmodern.errors import InputError
from colmodern.service.context import RequestContext, answered_in_time
from colmodern.service.errors import ServiceError
from colmodern.service.index_bodies import DocumentAnswer, ExplanationAnswer

CLOSE = 1e-5  # the server encodes with another number of threads: floats are rounded otherwise


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


@pytest.mark.parametrize(
    "filtered",
    [
        '["backup", "\\ud800"]',
        '["\\udfff{", "pasta"]',
        '{"\\ud800": "en"}',
        '{"language": ["\\udfff"]}',
    ],
)
def test_halves_of_surrogate_pairs_in_a_filter_are_no_fault_of_the_server(
    served: Any, filtered: str
) -> None:
    content = f'{{"queries": "{QUERY}", "filter": {filtered}}}'.encode()
    response = served.client.post("/v1/indexes/docs/search", content=content, headers=JSON)
    assert response.status_code in (200, 422), response.text
    if response.status_code == 422:
        expect_error(response, 422, "invalid_value")


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
        (
            {"queries": "x", "filter": "language"},
            422,
            "invalid_value",
            ["filter: give a list of ids, or an object of conditions", "(given: 'language')"],
        ),
        (
            {"queries": "x", "filter": ["pasta", 2]},
            422,
            "invalid_value",
            ["filter.ids[1]: Input should be a valid string (given: 2)"],
        ),
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


@pytest.mark.parametrize("wrong", [{"k": True}, {"k": "3"}, {"spans": "yes"}, {"offset": "1"}])
def test_values_of_another_type_are_refused(served: Any, wrong: dict[str, Any]) -> None:
    body = {"queries": "x", **wrong}
    response = served.client.post("/v1/indexes/docs/search", json=body)
    expect_error(response, 422, "invalid_value", *wrong)


def test_spans_settings_are_those_of_the_library(served: Any, folders: dict[str, str]) -> None:
    options = {"max_spans": 2, "min_share": 0.0, "max_gap": 0, "max_length": 12}
    with Collection.open(folders["docs"], device="cpu") as collection:
        [expected] = collection.search(QUERY, 1, spans=SpanSettings(**options))
    [hit] = hits_of(served, queries=QUERY, k=1, spans=options)
    assert [(span["start"], span["end"]) for span in hit["spans"]] == [
        (start, end) for start, end, _ in expected.spans
    ]
    assert np.isclose(hit["score"], expected.score)


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
