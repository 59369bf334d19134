"""BM25 on the command line: built, looked at, searched, and refused where it has no use for an option."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern import BM25Index
from colmodern.evaluation.trec import read_run

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def index(run: Run, beir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bm25"
    build = ("index", "build", beir, path, "--kind", "bm25", "--stemmer", "none", "--k1", "1.2")
    status, out, _ = run(*build)
    assert status == 0
    assert out.splitlines()[0].startswith("6 documents, ")
    assert out.splitlines()[-1] == str(path)
    return path


def test_an_index_is_built_from_texts_with_its_settings(run: Run, index: Path, beir: Path) -> None:
    settings = BM25Index.load(index).info()["settings"]
    assert (settings["k1"], settings["b"], settings["stemmer"]) == (1.2, 0.4, None)
    again = ("index", "build", beir, index, "--kind", "bm25", "--stemmer", "none")
    status, _, err = run(*again)
    assert (status, "exists; choose another folder" in err) == (2, True)
    assert run(*again, "--overwrite", "--stop-words", "none")[0] == 0
    assert BM25Index.load(index).info()["settings"]["stop_words"] is None


def test_it_is_searched_with_texts_alone(run: Run, index: Path, beir: Path, tmp_path: Path) -> None:
    status, out, _ = run("search", index, "lift of a wing", "--json")
    assert status == 0
    [best, *_] = json.loads(out)
    assert best == {"rank": 1, "doc_id": "d2", "score": pytest.approx(best["score"])}
    output = tmp_path / "run.trec"
    status, out, _ = run("search", index, "--queries", beir / "queries.jsonl", "-o", output)
    assert (status, out.strip()) == (0, str(output))
    expected = BM25Index.load(index).search("wing lift")
    assert [doc_id for doc_id, _ in read_run(output)["q2"]] == [doc_id for doc_id, _ in expected]
    assert run("search", index, "zzz", "--json")[:2] == (0, "[]\n")


@pytest.mark.parametrize(
    "option", [("--precision", "int8"), ("--model", "x"), ("--index-device", "cpu")]
)
def test_options_of_embeddings_are_refused(run: Run, index: Path, option: tuple[str, str]) -> None:
    status, _, err = run("search", index, "wing", *option)
    assert (status, f"{option[0]} is for embeddings" in err) == (2, True)


def test_options_of_the_other_kind_are_refused(run: Run, beir: Path, tmp_path: Path) -> None:
    for kind, option in (("bm25", "--nbits"), ("plaid", "--k1")):
        status, _, err = run("index", "build", beir, tmp_path / "x", "--kind", kind, option, "2")
        assert (status, f"{option} is not for an index of kind {kind}" in err) == (2, True)
    assert not (tmp_path / "x").exists()


def test_it_is_described_and_checked_and_not_changed(run: Run, index: Path) -> None:
    status, out, _ = run("index", "info", index)
    assert status == 0
    assert "postings" in out
    assert run("index", "check", index)[1].startswith("nothing is wrong")
    for what in (("index", "info", index, "--json"), ("info", index, "--json")):
        assert json.loads(run(*what)[1])["kind"] == "bm25"
    changes = (("delete", index, "d1"), ("compact", index), ("add", index, index))
    for change in changes:
        status, _, err = run("index", *change)
        assert (status, "does not change" in err) == (2, True)
    postings = index / "data.csc.index.npy"
    postings.write_bytes(postings.read_bytes()[:-4] + b"\0\0\0\0")
    status, _, err = run("index", "check", index)
    assert (status, str(postings) in err) == (2, True)


def test_a_run_that_was_searched_with_bm25_is_searched_again_with_it(
    run: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = eval_config(extra="index: {kind: bm25, stemmer: null}\n")
    assert run("eval", config)[0] == 0
    folder = tmp_path / "runs" / "small"
    [best, *_] = json.loads(run("search", folder, "lift of a wing", "--json")[1])
    assert (best["doc_id"], best["text"]) == ("d2", "the lift of a wing in the flow")
    facts = json.loads(run("info", folder, "--json")[1])
    assert facts["bm25"]["settings"]["k1"] == 0.9
