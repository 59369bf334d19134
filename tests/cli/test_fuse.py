"""colmodern fuse."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern.evaluation.trec import read_run, write_run
from colmodern.fusion import fuse
from colmodern.types import ScoredDoc

Run = Callable[..., tuple[object, str, str]]

A = {"q1": "abc", "q2": "xyz", "q3": "a"}
B = {"q1": "cd", "q2": "zy"}


def scored(ids: dict[str, str]) -> dict[str, list[ScoredDoc]]:
    return {q: [ScoredDoc(d, 9.0 - rank) for rank, d in enumerate(docs)] for q, docs in ids.items()}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    write_run(tmp_path / "a.trec", scored(A), tag="a")
    write_run(tmp_path / "b.trec", scored(B), tag="b")
    packed = tmp_path / "b.trec.gz"
    packed.write_bytes(gzip.compress((tmp_path / "b.trec").read_bytes()))
    return [tmp_path / "a.trec", packed]


@pytest.mark.parametrize("fusion", ["rrf", "weighted", "interleave"])
def test_runs_are_fused_as_in_python(
    run: Run, runs: list[Path], tmp_path: Path, fusion: str
) -> None:
    output = tmp_path / "fused.trec"
    status, out, _ = run("fuse", *runs, "-o", output, "--fusion", fusion, "--depth", 2, "-k", 3)
    assert (status, out.strip()) == (0, str(output))
    expected = fuse([scored(A), scored(B)], 3, fusion=fusion, depth=2)
    fused = read_run(output)
    assert {q: [d for d, _ in docs] for q, docs in fused.items()} == {
        q: [d for d, _ in docs] for q, docs in expected.items()
    }


def test_weights_count(run: Run, runs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "fused.trec"
    status, out, _ = run("fuse", *runs, "-o", output, "--weights", "0,1", "--json")
    assert (status, json.loads(out)) == (0, {"run": str(output), "weights": [0, 1]})
    assert [d for d, _ in read_run(output)["q1"]][:2] == ["c", "d"]


def test_queries_that_tune_are_left_out(run: Run, runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "dev.qrels").write_text("q1 0 c 1\n")
    output = tmp_path / "fused.trec"
    tune = ("--tune", tmp_path / "dev.qrels", "--measure", "RR@10")
    status, out, err = run("fuse", *runs, "-o", output, *tune)
    assert (status, out.strip()) == (0, str(output))
    assert "weights tuned on 1 queries: " in err
    assert "RR@10 1.0000, with equal weights" in err
    assert read_run(output).keys() == {"q2", "q3"}
    (tmp_path / "dev.qrels").write_text("q1 0 c 1\nq2 0 x 1\nq3 0 a 1\n")
    status, _, err = run("fuse", *runs, "-o", output, *tune)
    assert (status, "none is left to fuse" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", "a,b"), "--weights a,b is not a list of numbers"),
        (("--weights", "1"), "weights has 1 numbers for 2 runs"),
        (("--weights", "1,2", "--fusion", "interleave"), "interleave has no weights"),
        (("--weights", "1,2", "--tune", "x"), "leave out --weights"),
        (("--tune", "stdlib", "--tune-split", "test"), "results are reported on it"),
        (("--tune-split", "dev"), "--tune, which is missing"),
        (("--tune", "stdlib"), "--tune stdlib: name its split with --tune-split"),
        (("--tune", "beir/msmarco", "--tune-split", "dev"), "results are reported on it"),
        (("--depth", "0"), "depth=0; pass a whole number"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    run: Run, runs: list[Path], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    output = tmp_path / "fused.trec"
    status, _, err = run("fuse", *runs, "-o", output, *arguments)
    assert (status, message in err) == (2, True), err
    assert not output.exists()


def test_runs_that_are_none_are_refused(run: Run, runs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "fused.trec"
    status, _, err = run("fuse", runs[0], "-o", output)
    assert (status, "give two runs or more" in err) == (2, True)
    status, _, err = run("fuse", runs[0], tmp_path, "-o", output)
    assert (status, "is neither a file nor a run folder" in err) == (2, True)


def test_an_output_never_replaces_a_run(run: Run, runs: list[Path], tmp_path: Path) -> None:
    before = runs[0].read_bytes()
    (tmp_path / "link.trec").symlink_to(runs[0])
    for output in (runs[0], tmp_path / "link.trec"):
        status, _, err = run("fuse", *runs, "-o", output)
        assert (status, f"would replace {runs[0]}" in err) == (2, True), err
    assert runs[0].read_bytes() == before


def test_queries_that_runs_lack_are_said(run: Run, runs: list[Path], tmp_path: Path) -> None:
    status, _, err = run("fuse", *runs, "-o", tmp_path / "fused.trec")
    assert status == 0
    assert f"{runs[1]}: no results for 1 of 3 queries, the first is 'q3'" in err
    write_run(tmp_path / "other.trec", scored({"q9": "ab"}), tag="other")
    status, _, err = run("fuse", *runs, tmp_path / "other.trec", "-o", tmp_path / "none.trec")
    assert (status, f"other.trec has no query of {runs[0]}" in err) == (2, True), err
