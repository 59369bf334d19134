"""Rerank as the clients of others ask for it, and the passages that matched."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest

from colmodern.encoder.encoder import Encoder
from colmodern.rerank import Reranker
from colmodern.service.rerank import relevance

QUERY = "How is a file opened and read?"
DOCUMENTS = [
    "Wings lift an aeroplane.\r\nTheir shape turns the flow of air downwards. 🛩️",
    "The function open() returns a file object; read() gives its content as a string.",
    "Dates are parsed from strings by strptime.",
    "The function open() returns a file object; read() gives its content as a string.",
    "",
    "Lies nach, wie man eine Datei öffnet … «ouvrir un fichier»",
]


@pytest.mark.parametrize("path", ["/v2/rerank", "/v1/rerank", "/rerank"])
def test_the_order_and_the_scores_are_those_of_the_reranker(
    server: Any, encoder: Encoder, path: str
) -> None:
    answer = server.client.post(path, json={"query": QUERY, "documents": DOCUMENTS}).json()
    expected = Reranker(encoder).rank(QUERY, DOCUMENTS)
    results = answer["results"]
    assert [result["index"] for result in results] == [int(doc.doc_id) for doc in expected]
    for result, doc in zip(results, expected, strict=True):
        assert result["score"] == pytest.approx(doc.score, abs=1e-3)
        assert 0 <= result["relevance_score"] <= 1
        assert set(result) == {"index", "relevance_score", "score"}
    relevances = [result["relevance_score"] for result in results]
    assert relevances == sorted(relevances, reverse=True)
    assert relevances[0] == relevances[1]  # the same text twice: the first one comes first
    assert answer["model"] == "colmodern/tiny"
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"] > 0


def test_relevance_is_the_mean_similarity_from_0_to_1_and_rises_with_the_score() -> None:
    assert [relevance(score, 4) for score in (-4, 0, 2, 4)] == [0.0, 0.5, 0.75, 1.0]
    assert relevance(4.0001, 4) == 1.0  # rounding of floats


def test_documents_may_be_objects_and_unknown_fields_are_ignored(server: Any) -> None:
    body = {
        "model": "rerank-v3.5",
        "query": QUERY,
        "documents": [{"text": text, "title": "ignored"} for text in DOCUMENTS[:3]],
        "top_n": 2,
        "return_documents": True,
        "truncate_prompt_tokens": 4,
        "priority": 3,
    }
    results = server.client.post("/v1/rerank", json=body).json()["results"]
    assert [result["index"] for result in results] == [1, 0]
    assert results[0]["document"] == {"text": DOCUMENTS[1]}


def test_texts_get_the_list_that_text_embeddings_inference_returns(server: Any) -> None:
    body = {"query": QUERY, "texts": DOCUMENTS[:3], "return_text": True}
    answer = server.client.post("/rerank", json=body).json()
    assert [set(rank) for rank in answer] == [{"index", "score", "text"}] * 3
    assert answer[0]["index"] == 1
    assert answer[0]["text"] == DOCUMENTS[1]


def test_spans_are_passages_of_the_documents_the_best_first(server: Any) -> None:
    body = {
        "query": QUERY,
        "documents": DOCUMENTS,
        "relevant_spans": {"mode": "enabled", "threshold": 0.01},
    }
    results = server.client.post("/v2/rerank", json=body).json()["results"]
    assert "relevant_spans" not in results[[r["index"] for r in results].index(4)]  # no text
    for result in results:
        text, spans = DOCUMENTS[result["index"]], result.get("relevant_spans", [])
        scores = [span["score"] for span in spans]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 2 * result["relevance_score"]
        ends = sorted((span["start"], span["end"]) for span in spans)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
        for span in spans:
            assert 0 <= span["start"] < span["end"] <= len(text)
            assert 0.01 <= span["score"] <= 1
            assert text[span["start"] : span["end"]].strip()
    best = results[0]["relevant_spans"][0]
    assert "file" in DOCUMENTS[1][best["start"] : best["end"]]


def test_spans_are_limited_by_number_and_threshold_or_left_out(server: Any) -> None:
    long = f"A file is opened. {'Something else stands here. ' * 12} How it is read?"

    def spans(**settings: Any) -> list[Any]:
        body = {"query": QUERY, "documents": [long], "relevant_spans": settings}
        [result] = server.client.post("/v2/rerank", json=body).json()["results"]
        return result.get("relevant_spans", [])

    every = spans(mode="enabled", threshold=0)
    assert len(every) > 1
    assert spans(mode="enabled", threshold=0, max_spans=1) == every[:1]
    assert spans(mode="enabled", threshold=1) == []
    assert spans(mode="disabled") == []


def test_a_document_is_cut_where_the_request_says(server: Any) -> None:
    body = {"query": QUERY, "documents": ["filler " * 30 + DOCUMENTS[1]], "max_tokens_per_doc": 12}
    short = server.client.post("/v2/rerank", json=body).json()
    del body["max_tokens_per_doc"]
    whole = server.client.post("/v2/rerank", json=body).json()
    assert short["usage"]["total_tokens"] < whole["usage"]["total_tokens"]
    assert short["results"][0]["score"] < whole["results"][0]["score"]


def test_a_document_that_is_split_is_cut_where_the_request_says(make_server: Any) -> None:
    settings = {"document_length": 16, "overflow": "split", "overlap": 2}
    split = Encoder.from_pretrained("colmodern/tiny", device="cpu", **settings)
    server = make_server(split)
    text = "filler " * 30 + DOCUMENTS[1]
    tokens = {}
    for most in (None, 12, 16, 24, 32, 60):
        body = {"query": QUERY, "documents": [text], "max_tokens_per_doc": most}
        body |= {"relevant_spans": {"mode": "enabled", "threshold": 0}}
        answer = server.client.post("/v2/rerank", json=body).json()
        [result] = answer["results"]
        tokens[most] = answer["usage"]["total_tokens"]
        read = split.tokenize([text], "document", max_tokens=most)
        n_query = int(split.tokenize([QUERY], "query").attended.sum())
        assert tokens[most] == n_query + int(read.attended.sum())
        expected = Reranker(split).rank(QUERY, [text])[0].score
        if most is None:
            assert result["score"] == pytest.approx(expected, abs=1e-3)
        else:
            assert result["score"] < expected - 0.01
            assert all(span["end"] <= 7 * most for span in result["relevant_spans"])
    assert list(tokens.values())[1:] == sorted(tokens.values())[:-1]


def test_no_documents_give_no_results(server: Any) -> None:
    answer = server.client.post("/v2/rerank", json={"query": QUERY, "documents": []})
    assert answer.json()["results"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"documents": ["a"]}, "query: Field required"),
        ({"query": "a"}, "give documents, or texts"),
        ({"query": "a", "documents": ["a"], "texts": ["a"]}, "give documents, or texts"),
        ({"query": "a", "documents": "a"}, "documents: Input should be a valid list"),
        ({"query": "a", "documents": [1]}, "documents[0]"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n: Input should be greater"),
        ({"query": "  ", "documents": ["a"]}, "is empty"),
        ({"query": "a", "documents": ["a"] * 1001}, "documents has 1,001 items"),
        ({"query": "a", "documents": ["a" * 200_001]}, "documents[0] has 200,001 characters"),
        ({"query": "\ud800", "documents": ["a"]}, "query has half a surrogate"),
    ],
)
def test_a_wrong_body_is_answered_with_the_field_and_a_cure(
    server: Any, body: dict[str, Any], message: str
) -> None:
    response = server.client.post(
        "/v2/rerank", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    error = response.json()["error"]
    assert message in error["message"]
    assert error["cure"]


@pytest.fixture
def connection() -> Iterator[httpx.Client]:
    with httpx.Client() as client:  # the cohere client does not close its own
        yield client


def test_the_cohere_client_works_unchanged(
    server: Any, encoder: Encoder, connection: httpx.Client
) -> None:
    client = cohere.ClientV2(api_key="none", base_url=server.url, httpx_client=connection)
    answer = client.rerank(
        model="colmodern/tiny",
        query=QUERY,
        documents=DOCUMENTS,
        top_n=3,
        relevant_spans=cohere.RerankRelevantSpans(mode="enabled", threshold=0.05, max_spans=2),
    )
    expected = Reranker(encoder).rank(QUERY, DOCUMENTS, 3)
    assert [result.index for result in answer.results] == [int(doc.doc_id) for doc in expected]
    spans = answer.results[0].relevant_spans
    assert spans
    assert len(spans) <= 2
    assert "file" in DOCUMENTS[1][spans[0].start : spans[0].end]
    assert answer.meta is not None
    assert answer.meta.tokens is not None
    assert answer.meta.tokens.input_tokens


def test_the_older_cohere_client_works_unchanged(server: Any, connection: httpx.Client) -> None:
    client = cohere.Client(api_key="none", base_url=server.url, httpx_client=connection)
    answer = client.rerank(
        model="rerank-english-v3.0",
        query=QUERY,
        documents=[{"text": text} for text in DOCUMENTS],
        top_n=2,
        return_documents=True,
    )
    assert answer.results[0].index == 1
    assert answer.results[0].document is not None
    assert answer.results[0].document.text == DOCUMENTS[1]


def test_the_cohere_client_shows_what_was_wrong(server: Any, connection: httpx.Client) -> None:
    client = cohere.ClientV2(api_key="none", base_url=server.url, httpx_client=connection)
    with pytest.raises(cohere.UnprocessableEntityError) as caught:
        client.rerank(model="any", query="", documents=["a"])
    assert caught.value.body["error"]["cure"]
