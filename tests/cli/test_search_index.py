"""colmodern search and explain with an index that colmodern index built."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from cli.test_index import no_waiting_for_the_disk
from cli.test_main import Run, run

from colmodern import Encoder, TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

__all__ = ["no_waiting_for_the_disk", "run"]  # fixtures


@pytest.fixture
def encoded(run: Run, beir: Path, pylate_bert: Path, tmp_path: Path) -> Path:
    """The small collection, by the tiny PyLate checkpoint."""
    folder = tmp_path / "encoded"
    assert run("encode", beir, "-o", folder, "-m", pylate_bert)[0] == 0
    return folder


def test_search_takes_an_index_of_the_same_encoder(
    run: Run, encoded: Path, beir: Path, tmp_path: Path
) -> None:
    index, exact, facts = tmp_path / "i", tmp_path / "exact.trec", tmp_path / "found.trec"
    assert run("index", "build", encoded, index)[0] == 0
    queries = ("--queries", beir / "queries.jsonl", "-k", "6")
    assert run("search", encoded, *queries, "-o", exact)[0] == 0
    assert run("search", encoded, *queries, "-o", facts, "--index", index)[0] == 0
    lines = [[line.split() for line in p.read_text().splitlines()] for p in (exact, facts)]
    assert {row[-1] for row in lines[0]} == {"colmodern-exact"}
    assert {row[-1] for row in lines[1]} == {"colmodern-plaid"}
    assert [{row[2] for row in run_lines} for run_lines in lines] == [
        {"d1", "d2", "d3", "d4", "d5", "d6"}
    ] * 2
    assert run("index", "delete", index, "d4")[0] == 0
    code, out, _ = run("search", encoded, "sort names", "-k", "6", "--index", index)
    assert code == 0
    assert "d4" not in out
    assert "d1" in out


def test_search_takes_embeddings_of_queries_and_needs_no_model_then(
    run: Run, tmp_path: Path
) -> None:
    rows = np.eye(16, dtype=np.float32)
    store, queries = tmp_path / "pages", tmp_path / "queries"
    TokenEmbeddings.from_list([rows[:8], rows[8:]]).save(store, ["p1", "p2"])
    TokenEmbeddings.from_list([rows[9:12], rows[:1]]).save(queries, ["q1", "q2"])
    index, exact, found = tmp_path / "i", tmp_path / "exact.trec", tmp_path / "found.trec"
    assert run("index", "build", store, index)[0] == 0
    search = ("search", store, "--queries", queries, "-k", "1")
    assert run(*search, "-o", exact)[0] == 0
    assert run(*search, "-o", found, "--index", index)[0] == 0
    for path in (exact, found):
        rows_of = [line.split() for line in path.read_text().splitlines()]
        assert [(row[0], row[2]) for row in rows_of] == [("q1", "p2"), ("q2", "p1")]


def test_search_refuses_embeddings_of_queries_that_do_not_fit(
    run: Run, encoded: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    other = checkpoints.pylate(tmp_path / "model", "modernbert")
    encoder = Encoder.from_pretrained(other)
    encoder.encode_queries(["sort"]).save(tmp_path / "q", ["q1"], encoder=encoder)
    search = ("search", encoded, "--queries", tmp_path / "q", "-o", tmp_path / "run.trec")
    code, _, err = run(*search)
    assert code == 2
    assert "another encoder" in err
    code, _, err = run(*search, "--model", pylate_bert)
    assert code == 2
    assert "leave it out" in err


def test_search_refuses_an_index_of_another_encoder(
    run: Run, encoded: Path, beir: Path, tmp_path: Path
) -> None:
    other = checkpoints.pylate(tmp_path / "model", "modernbert")
    assert run("encode", beir, "-o", tmp_path / "e", "-m", other)[0] == 0
    assert run("index", "build", tmp_path / "e", tmp_path / "i")[0] == 0
    for arguments in (
        ("search", encoded, "sort", "--index", tmp_path / "i"),
        ("explain", tmp_path / "i", "sort", "d1", "--embeddings", encoded),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert "was built with another encoder" in err
    assert run("search", encoded, "sort", "--index", encoded)[0] == 2


def test_encoded_spans_are_kept_by_the_index_and_shown(
    run: Run, beir: Path, pylate_bert: Path, tmp_path: Path
) -> None:
    encoded = tmp_path / "spans"
    assert run("encode", beir, "-o", encoded, "-m", pylate_bert, "--spans")[0] == 0
    assert EmbeddingStore(encoded).has_spans
    assert run("index", "build", encoded, tmp_path / "i")[0] == 0
    arguments = ("explain", tmp_path / "i", "sort names", "d4", "--embeddings", encoded)
    assert "characters\tscore" in run(*arguments)[1]
    spans = json.loads(run(*arguments, "--json")[1])["spans"]
    assert spans
    assert all(0 <= span["start"] < span["end"] for span in spans)
    assert "spans" in run("index", "info", tmp_path / "i")[1]
