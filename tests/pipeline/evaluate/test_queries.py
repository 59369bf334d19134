"""What an evaluation makes of its queries: prompts, cuts, mean scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_jsonl
from pipeline.evaluate.test_run import run

from colmodern import Encoder, load_dataset
from colmodern.config.load import load_eval_config
from colmodern.errors import ConfigError, DataError, InputError
from colmodern.evaluation.trec import read_run
from colmodern.ragged.store import EmbeddingStore

Config = Callable[..., Path]
SMALL = "measures: [nDCG@3]\nsearch: {k: 3}\n"
PROMPTED = [
    {"_id": "q1", "text": "how to parse a date", "instruction": "find docs.", "year": 2020},
    {"_id": "q2", "text": "wing lift", "instruction": None, "year": 2021},
    {"_id": "q3", "text": "read a file", "instruction": "in Python", "year": 1.5},
]


def test_a_template_makes_the_text_that_the_model_reads(eval_config: Config, beir: Path) -> None:
    write_jsonl(beir / "queries.jsonl", PROMPTED)
    template = "dataset.query_template='{instruction} {text} ({year})'"
    result, _ = run(eval_config(extra=SMALL), template)
    environment = json.loads((result.folder / "environment.json").read_text())
    stored = EmbeddingStore(result.folder / environment["embeddings"]["queries"]).to_memory()
    encoder = Encoder.from_pretrained(
        result.config.encoder.model, **result.config.encoder.settings()
    )
    texts = [
        "find docs. how to parse a date (2020)",
        "wing lift (2021)",
        "in Python read a file (1.5)",
    ]
    expected = encoder.encode_queries(texts)
    assert stored.values == pytest.approx(expected.values, abs=1e-6)
    lines = (result.folder / "per_query.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["query"], row["model_query"]) for row in rows] == [
        (query["text"], text) for query, text in zip(PROMPTED, texts, strict=True)
    ]


def test_words_are_searched_without_the_template(eval_config: Config, beir: Path) -> None:
    write_jsonl(beir / "queries.jsonl", PROMPTED)
    bm25 = "index={kind: bm25, stemmer: null}"
    plain, _ = run(eval_config(extra=SMALL), bm25, "name=plain")
    prompted, _ = run(
        eval_config(extra=SMALL), bm25, "dataset.query_template='{instruction} {text}'"
    )
    runs = [read_run(result.folder / "run.trec") for result in (plain, prompted)]
    assert runs[0] == runs[1]


def test_queries_keep_their_other_fields(beir: Path) -> None:
    write_jsonl(beir / "queries.jsonl", PROMPTED)
    dataset = load_dataset(beir, max_queries=2)
    assert dataset.query_fields == {
        "q1": {"instruction": "find docs.", "year": 2020},
        "q2": {"instruction": None, "year": 2021},
    }
    assert dataset.model_queries == dataset.queries
    prompted = load_dataset(beir, query_template="Answer: {text}")
    assert prompted.model_queries["q2"] == "Answer: wing lift"


@pytest.mark.parametrize(
    ("template", "error", "message"),
    [
        ("{prompt} {text}", DataError, "query 'q1' has no field 'prompt'.*instruction, tags, text"),
        ("{tags}", DataError, "field 'tags' of query 'q1' is .*; a text or a number can stand"),
        ("no field", InputError, "write the names of fields in braces"),
        ("{text} {", InputError, "write the names of fields in braces"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(
    beir: Path, template: str, error: type[Exception], message: str
) -> None:
    records = [{**query, "tags": ["x"]} for query in PROMPTED]
    write_jsonl(beir / "queries.jsonl", records)
    with pytest.raises(error, match=message):
        load_dataset(beir, query_template=template)


def test_cut_queries_are_counted_as_documents_are(eval_config: Config, beir: Path) -> None:
    long = [{"_id": "q1", "text": "date " * 90}, {"_id": "q2", "text": "wing"}]
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    write_jsonl(beir / "queries.jsonl", long)
    result, _ = run(eval_config(extra=SMALL), "encoder.query_length=16")
    assert result.facts["truncated_queries"] == 1
    assert 0.5 < result.facts["cut_query_tokens_share"] < 1
    page = (result.folder / "report.html").read_text()
    assert "truncated queries" in page
    assert "of query tokens cut" in page


@pytest.mark.parametrize("index", ["exact", "plaid", "rerank"])
def test_mean_scores_are_divided_by_the_query_tokens(eval_config: Config, index: str) -> None:
    extra = f"index: {{kind: {index}}}\n{SMALL}"
    if index == "rerank":
        extra = f"index: {{kind: rerank, candidates: plaid, depth: 6}}\n{SMALL}"
    total, _ = run(eval_config(extra=extra))
    mean, _ = run(eval_config(extra=extra), "search.score=mean", "name=mean")
    environment = json.loads((total.folder / "environment.json").read_text())
    stored = EmbeddingStore(total.folder / environment["embeddings"]["queries"])
    lengths = dict(zip(stored.doc_ids, stored.to_memory().lengths.tolist(), strict=True))
    sums, means = (read_run(result.folder / "run.trec") for result in (total, mean))
    assert mean.evaluation == total.evaluation
    for query_id, results in sums.items():
        assert means[query_id] == [
            (doc_id, pytest.approx(score / lengths[query_id])) for doc_id, score in results
        ]
        assert all(-1.001 <= score <= 1.001 for _, score in means[query_id])


@pytest.mark.parametrize("kind", ["bm25", "hybrid"])
def test_other_scores_have_no_mean(eval_config: Config, kind: str) -> None:
    with pytest.raises(
        ConfigError, match=f"search.score=mean: scores of kind {kind} are not MaxSim"
    ):
        load_eval_config(eval_config(extra=f"index: {{kind: {kind}}}\n"), ["search.score=mean"])
