"""Searches of runs that had several stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern.evaluation.trec import read_run
from colmodern.pipeline.cache import list_entries

Run = Callable[..., tuple[object, str, str]]
BM25 = "{kind: bm25, stemmer: null}"
SMALL = "measures: [nDCG@3]\nsearch: {k: 3}\n"


def by_query(path: Path) -> dict[str, list[str]]:
    return {query_id: [d for d, _ in docs] for query_id, docs in read_run(path).items()}


@pytest.mark.parametrize(
    "index",
    [
        f"{{kind: hybrid, of: [{BM25}, {{kind: plaid, nbits: 8}}, exact], depth: 5}}",
        f"{{kind: hybrid, of: [{BM25}, exact], fusion: weighted, weights: [1, 3], depth: 5}}",
        f"{{kind: rerank, candidates: {BM25}, depth: 4}}",
        "{kind: rerank, candidates: plaid, depth: 4}",
    ],
)
def test_a_run_is_searched_with_its_stages(
    run: Run, eval_config: Callable[..., Path], beir: Path, tmp_path: Path, index: str
) -> None:
    assert run("eval", eval_config(extra=f"index: {index}\n{SMALL}"))[0] == 0
    folder, output = tmp_path / "runs" / "small", tmp_path / "again.trec"
    queries = ("--queries", beir / "queries.jsonl", "-k", 3, "-o", output)
    assert run("search", folder, *queries)[0] == 0
    evaluated, again = by_query(folder / "run.trec"), by_query(output)
    for query_id, ids in evaluated.items():
        assert again[query_id] == ids
    [best, *_] = json.loads(run("search", folder, "wing lift", "-k", 3, "--json")[1])
    assert best["doc_id"] == evaluated["q2"][0]


def test_what_cannot_be_searched_again_is_said(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    trec = tmp_path / "first.trec"
    trec.write_text("".join(f"q{n} Q0 d{n} 1 1.0 x\n" for n in (1, 2, 3)))
    assert run("eval", eval_config(extra=f"index: {{kind: hybrid, of: [exact, {trec}]}}\n"))[0] == 0
    folder = tmp_path / "runs" / "small"
    status, _, err = run("search", folder, "wing lift")
    assert (status, "which has no results for other queries" in err) == (2, True)
    config = eval_config(extra=f"index: {{kind: rerank, candidates: {trec}}}\n{SMALL}")
    assert run("eval", config, "name=reranked")[0] == 0
    assert run("search", tmp_path / "runs" / "reranked", "wing lift")[0] == 0  # exactly


def test_embeddings_of_queries_have_no_words(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    assert run("eval", eval_config(extra=f"index: {{kind: hybrid, of: [{BM25}, exact]}}\n"))[0] == 0
    folder = tmp_path / "runs" / "small"
    environment = json.loads((folder / "environment.json").read_text())
    stored = folder / environment["embeddings"]["queries"]
    output = tmp_path / "again.trec"
    status, _, err = run("search", folder, "--queries", stored, "-o", output)
    assert (status, "also needs their texts" in err) == (2, True)


def test_the_indexes_of_a_run_belong_to_it_in_the_cache(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    index = f"index: {{kind: hybrid, of: [{BM25}, plaid]}}\n"
    assert run("eval", eval_config(extra=index))[0] == 0
    entries = [entry for entry in list_entries(tmp_path / "runs") if entry.kind == "index"]
    assert [entry.runs for entry in entries] == [("small",), ("small",)]
