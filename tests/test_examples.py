"""The examples run offline, and say something true. Run by `make check`."""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.docs

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(path.stem for path in (EXAMPLES / "notebooks").glob("*.py"))


def run(folder: Path, name: str, *arguments: str) -> list[str]:
    """The lines that an example writes to stdout, run in a folder."""
    paths = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout.splitlines()


def run_cells(name: str) -> tuple[dict[str, Any], list[Any]]:
    """Run a notebook cell by cell: its names, and the value that each cell ends with."""
    names: dict[str, Any] = {"__name__": name}
    values = []
    for cell in re.split(r"^# %%", (EXAMPLES / f"{name}.py").read_text(), flags=re.MULTILINE)[1:]:
        if cell.startswith(" [markdown]"):
            continue
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), name, "eval"), names))
    return names, values


def test_the_table_names_every_example() -> None:
    table = (EXAMPLES / "README.md").read_text()
    names = [*SCRIPTS, *(f"notebooks/{name}" for name in NOTEBOOKS)]
    assert sorted(re.findall(r"\]\(([^)]+)\.py\)", table)) == sorted(names)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    assert path.read_text().count("\n") < 100


def test_rerank_search_results(tmp_path: Path) -> None:
    query, best, *_ = run(tmp_path, "rerank_search_results")
    assert query == "query: when do I get a bill"
    assert best.startswith("1. (was 4)")
    assert "invoice: Invoices are sent by e-mail on the first day" in best
    file = tmp_path / "results.jsonl"
    file.write_text('{"id": 7, "text": "open a file"}\n\n{"id": "b", "text": "parse a date"}\n')
    lines = run(tmp_path, "rerank_search_results", "read a date", str(file), "-k", "1")
    assert [line[:10] for line in lines[1:]] == ["1. (was 2)"]
    assert lines[1].endswith("b: parse a date")


def test_search_a_collection(tmp_path: Path) -> None:
    first, best, *_ = run(tmp_path, "search_a_collection")
    assert first == "3 documents; query: restore one file"
    assert best.startswith("1. ")
    assert "[backup] Backups: Every night" in best
    assert re.search(r"\*[^*]*restore a single file[^*]*\*", best)
    assert "*Every night" not in best
    file = tmp_path / "notes.jsonl"
    file.write_text('{"text": "open a file"}\n\n{"id": "b", "text": "parse a date", "year": 1}\n')
    arguments = [str(file), "read a date", "--folder", "kept", "-k", "1"]
    lines = run(tmp_path, "search_a_collection", *arguments)
    assert lines[0].startswith("2 documents")
    assert re.fullmatch(r"1\. [\d.]+ \[b\] \*parse a date\*", lines[1])
    file.write_text('{"id": "c", "text": "boil pasta"}\n')
    assert run(tmp_path, "search_a_collection", *arguments)[0].startswith("3 documents")


def test_index_markdown_folder(tmp_path: Path) -> None:
    notes = tmp_path / "notes" / "deep"
    notes.mkdir(parents=True)
    (notes / "house.md").write_text("# Heating\nThe boiler is serviced in May.\n## Roof\nSlate.\n")
    (tmp_path / "notes" / "trip.md").write_text("Packing list: boots, a map and a tent.\n")
    arguments = [str(notes.parent), "when is the boiler serviced", "--index", "kept"]
    first = run(tmp_path, "index_markdown_folder", *arguments)
    assert first[0].startswith("encoding 3 sections of ")
    assert first[2].endswith("deep/house.md#0: Heating")
    assert run(tmp_path, "index_markdown_folder", *arguments) == first[1:]


def test_evaluate_on_your_qrels(tmp_path: Path) -> None:
    lines = run(tmp_path, "evaluate_on_your_qrels")
    measures = dict(line.split() for line in lines[:3])
    assert 0.6 < float(measures["nDCG@10"]) < 0.9
    assert float(measures["nDCG@10"]) <= float(measures["R@100"]) <= 1
    assert len([line for line in lines if line.startswith("  ")]) == 5
    report = tmp_path / "runs" / "mine" / "report.html"
    assert lines[-1].endswith("runs/mine/report.html")
    assert f"{float(measures['nDCG@10']):.4f}" in report.read_text()


def test_mine_and_train(tmp_path: Path) -> None:
    lines = run(tmp_path, "mine_and_train")
    with gzip.open(tmp_path / "mining" / "mined.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert lines[0].startswith(f"{len(rows)} rows of a query, its positive and 5 negatives")
    pairs = (tmp_path / "mining" / "pairs.jsonl").read_text().splitlines()
    positives = {(pair["query"], pair["positive"].strip()) for pair in map(json.loads, pairs)}
    for row in rows:
        assert (row["query"], row["documents"][0]) in positives
        assert len(row["documents"]) == len(row["scores"]) == 6
        assert max(row["scores"][1:]) <= 0.95 * row["scores"][0] + 1e-4


@pytest.mark.skipif(find_spec("pylate") is not None, reason="the extra train is installed")
def test_training_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "mining").mkdir()
    (tmp_path / "mining" / "mined.jsonl.gz").touch()
    [line] = run(tmp_path, "mine_and_train", "pairs.jsonl", "--train")
    assert line.startswith("not trained: ")
    assert "train" in line.removeprefix("not trained: ")


def test_explain_match(tmp_path: Path) -> None:
    lines = run(tmp_path, "explain_match", "--html", "match.html")
    pairs = [tuple(line.split()[:2]) for line in lines if "▆" in line]
    assert {("password", "password"), ("new", "new"), ("choose", "choose")} <= set(pairs)
    [text] = [line for line in lines if "invoices are sent" in line]
    assert "*password* use the link" in text
    marked = re.findall(r"<mark[^>]*>(.*?)</mark>", (tmp_path / "match.html").read_text())
    assert "password" in marked
    assert "invoices" not in marked


def test_embeddings_from_elsewhere(tmp_path: Path) -> None:
    lines = run(tmp_path, "embeddings_from_elsewhere")
    for number in (0, 10, 20, 30):
        assert any(
            line.startswith(f"about page-{number:02d}: page-{number:02d} ") for line in lines
        )
    rows = np.eye(8, dtype=np.float16)
    np.savez(tmp_path / "pages.npz", a=rows[:4], b=rows[4:])
    np.savez(tmp_path / "queries.npz", of_b=rows[5:7] * 3)
    lines = run(tmp_path, "embeddings_from_elsewhere", "pages.npz", "queries.npz", "--index", "i")
    assert lines[0] == "2 pages, 8 vectors of 8 numbers"
    assert re.match(r"of_b: b [\d.]+, a .*\(exact search: b 2\.00\)", lines[2])
    assert (tmp_path / "i" / "manifest.json").exists()


def test_search_and_explain_as_a_script_and_as_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run(tmp_path, "notebooks/search_and_explain")
    assert any(line.endswith(" textwrap.dedent") for line in lines)
    assert "random.Random.randint: " in lines[-1]
    monkeypatch.chdir(tmp_path)
    names, values = run_cells("notebooks/search_and_explain")
    assert names["hits"][0].doc_id == "textwrap.dedent"
    views = [
        value._repr_html_().replace("<wbr>", "")
        for value in values
        if hasattr(value, "_repr_html_")
    ]
    assert "textwrap.dedent" in views[0]
    assert "<mark" in views[1]
    assert max(map(len, map(repr, values[:3]))) < 250


def test_compare_index_settings_as_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names, values = run_cells("notebooks/compare_index_settings")
    overlaps = {row[0]: float(row[2]) for row in names["rows"]}
    sizes = {row[0]: float(row[1]) for row in names["rows"]}
    assert overlaps["exact"] == 1
    assert overlaps["compressed, 1 bits, rescored"] > overlaps["compressed, 1 bits"] > 0.8
    assert sizes["exact"] > sizes["compressed, 4 bits"] > sizes["compressed, 1 bits"]
    assert any(
        "compressed, 2 bits" in str(getattr(value, "_repr_html_", str)()) for value in values
    )
