"""colmodern encode --passages, and searches of what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern.evaluation.trec import read_run

Run = Callable[..., tuple[int, str, str]]
SPLIT = ("--set", "overflow=split", "--set", "document_length=10", "--set", "overlap=2")
EVAL = ("encoder.overflow=split", "encoder.document_length=10", "encoder.overlap=2")
LONG = "heat and speed, heat and speed, " * 20  # document d6


@pytest.fixture
def encoded(run: Run, beir: Path, pylate_bert: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "encoded"
    options = (*SPLIT, "--passages", "--spans")
    code, out, err = run("encode", beir, "-o", folder, "-m", pylate_bert, *options)
    assert code == 0, err
    assert "6 documents in " in out
    assert "passages" in out
    return folder


def found(run: Run, *words: object) -> list[dict]:
    code, out, err = run("search", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_results_are_documents_with_their_best_passages(
    run: Run, encoded: Path, tmp_path: Path, beir: Path
) -> None:
    results = found(run, encoded, "heat and speed", "-k", "6")
    assert sorted(result["doc_id"] for result in results) == [f"d{i}" for i in range(1, 7)]
    first = next(result for result in results if result["doc_id"] == "d6")
    start, end = first["characters"]
    assert 0 <= start < end <= len(LONG)
    assert end - start < 60
    run_path = tmp_path / "out.trec"
    assert run("search", encoded, "--queries", beir / "queries.jsonl", "-o", run_path)[0] == 0
    assert {hit.doc_id for hit in read_run(run_path)["q1"]} == {f"d{i}" for i in range(1, 7)}
    total = found(run, encoded, "heat and speed", "-k", "6", "--passages", "sum")
    assert total[0]["doc_id"] == "d6"
    assert total[0]["score"] > first["score"]
    mean = found(run, encoded, "heat and speed", "-k", "6", "--score", "mean")
    assert [result["passage"] for result in mean] == [result["passage"] for result in results]
    code, out, _ = run("search", encoded, "heat and speed")
    assert code == 0
    assert "passage" in out


def test_an_index_of_passages_ranks_documents(run: Run, encoded: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    assert run("index", "build", encoded, index, "--nbits", "8")[0] == 0
    for options in ((), ("--passages", "sum")):
        exact = found(run, encoded, "heat and speed", "-k", "6", *options)
        compressed = found(run, encoded, "heat and speed", "-k", "6", "--index", index, *options)
        assert [hit["doc_id"] for hit in compressed] == [hit["doc_id"] for hit in exact]
        assert compressed[0]["characters"] == exact[0]["characters"]


@pytest.mark.parametrize("kind", ["exact", "plaid"])
def test_a_run_is_searched_as_it_was_evaluated(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path, kind: str, beir: Path
) -> None:
    records = [json.loads(line) for line in (beir / "corpus.jsonl").read_text().splitlines()]
    lines = [json.dumps({**record, "n": number}) for number, record in enumerate(records)]
    (beir / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    settings = ("search.passages=sum", "storage.spans=true", f"index={{kind: {kind}, nbits: 8}}")
    if kind == "exact":
        settings = (*settings[:2], "index={kind: exact}")
    assert run("eval", eval_config(), *EVAL, *settings)[0] == 0
    folder = tmp_path / "runs" / "small"
    results = found(run, folder, "heat and speed", "-k", "6")
    total = found(run, folder, "heat and speed", "-k", "6", "--passages", "sum")
    assert results == total
    assert results[0]["doc_id"] == "d6"
    start, end = results[0]["characters"]
    assert results[0]["text"] == LONG[start:end].strip()  # its passage, not its beginning
    filter = '{"n": {"lt": 2}}'
    filtered = found(run, folder, "heat and speed", "--filter", filter)
    assert {hit["doc_id"] for hit in filtered} == {"d1", "d2"}
    code, out, err = run("explain", folder, "heat and speed", "d6", "--json")
    assert code == 0, err
    assert json.loads(out)["doc_id"].startswith("d6#")
    assert "this is the document's best passage among" in out


def test_a_run_in_stages_is_searched_with_passages(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    for index in (
        "{kind: rerank, candidates: plaid, depth: 100}",
        "{kind: hybrid, of: [plaid, exact]}",
    ):
        settings = ("search.passages=best", f"index={index}", "search.k=10", "measures=[nDCG@10]")
        code, _, err = run("eval", eval_config(), *EVAL, *settings)
        assert code == 0, err
        folder = tmp_path / "runs" / "small"
        results = found(run, folder, "heat and speed", "-k", "6")
        assert sorted(result["doc_id"] for result in results) == [f"d{i}" for i in range(1, 7)]
        code, _, err = run("search", folder, "heat", "--passages", "sum")
        assert code == 2
        assert "leave --passages out" in err


def test_what_has_no_passages_is_refused(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    code, _, err = run("encode", beir, "-o", tmp_path / "x", "-m", pylate_bert, "--passages")
    assert code != 0
    assert "set overflow to split" in err
    assert run("encode", beir, "-o", tmp_path / "whole", "-m", pylate_bert)[0] == 0
    code, _, err = run("search", tmp_path / "whole", "heat", "--passages", "best")
    assert code != 0
    assert "has no passages; encode the documents with `colmodern encode --passages`" in err
