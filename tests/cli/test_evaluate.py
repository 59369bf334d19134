"""`colmodern evaluate`, and TREC runs in `colmodern compare`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest
from click.testing import CliRunner, Result
from pipeline.evaluate.test_run import run

from colmodern.cli.main import cli
from colmodern.errors import ColmodernError, DataError, InputError

QRELS = "q1 0 d1 2\nq1 0 d2 0\nq2 0 d2 1\nq3 0 d3 1\n"
BM25 = "q1 Q0 d2 1 9.5 bm25\nq1 Q0 d1 2 8 bm25\nq2 Q0 d2 1 7 bm25\nq9 Q0 d1 1 3 bm25\n"
DENSE = "q1 Q0 d1 1 0.9 dense\nq2 Q0 d1 1 0.8 dense\nq2 Q0 d2 2 0.7 dense\nq3 Q0 d3 1 0.9 dense\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {"qrels": QRELS, "bm25.trec": BM25, "dense.trec": DENSE}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in texts}


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": "200"})


def values(*words: str | Path) -> dict:
    result = call(*words, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_the_means_are_those_of_ir_measures_over_all_judged_queries(files: dict[str, str]) -> None:
    names = ["nDCG@10", "RR@10", "AP", "P@1"]
    options = [word for name in names for word in ("-m", name)]
    shown = values("evaluate", files["bm25.trec"], "--qrels", files["qrels"], *options)
    qrels = list(ir_measures.read_trec_qrels(files["qrels"]))
    scored = list(ir_measures.read_trec_run(files["bm25.trec"]))
    wanted = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(n) for n in names], qrels, scored
    )
    assert shown["measures"]["bm25.trec"] == pytest.approx({str(m): v for m, v in wanted.items()})
    assert (shown["queries"], shown["comparison"]) == (3, None)
    assert any(
        "no results for 1 of 3 judged queries, the first is 'q3'" in n for n in shown["notes"]
    )
    assert any("1 of its 3 queries are not judged" in note for note in shown["notes"])


def test_several_runs_are_tested_against_the_first(files: dict[str, str]) -> None:
    words = ["evaluate", files["bm25.trec"], files["dense.trec"], "--qrels", files["qrels"]]
    shown = values(*words, "-m", "RR@10", "--per-query")
    [difference] = shown["comparison"]["differences"]
    assert (difference["baseline"], difference["value"]) == (0.5, pytest.approx(2.5 / 3))
    assert [difference[name] for name in ("wins", "ties", "losses")] == [2, 0, 1]
    assert shown["per_query"]["dense.trec"]["q2"] == {"RR@10": 0.5}
    text = call(*words).stdout
    for wanted in ("bm25.trec", "dense.trec", "p (randomisation)", "wins / ties / losses"):
        assert wanted in text
    assert "Not known of TREC runs: bm25.trec, dense.trec." in text


def test_gzipped_runs_and_beir_judgments_give_the_same(
    files: dict[str, str], tmp_path: Path
) -> None:
    packed = tmp_path / "bm25.trec.gz"
    packed.write_bytes(gzip.compress(BM25.encode()))
    rows = [line.split() for line in QRELS.splitlines()]
    tsv = "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, _, d, g in rows)
    qrels = tmp_path / "qrels.tsv.gz"
    qrels.write_bytes(gzip.compress(tsv.encode()))
    plain = values("evaluate", files["bm25.trec"], "--qrels", files["qrels"])
    shown = values("evaluate", packed, "--qrels", qrels)
    assert shown["measures"]["bm25.trec.gz"] == plain["measures"]["bm25.trec"]


def test_judgments_may_be_a_collection_whose_texts_are_shown(
    files: dict[str, str], beir: Path
) -> None:
    words = ["evaluate", files["bm25.trec"], files["dense.trec"], "--qrels", beir]
    shown = values(*words, "-m", "RR@10")
    assert shown["qrels"] == beir.name
    assert all(change["query"] for change in shown["comparison"]["changes"])


@pytest.mark.parametrize("form", ["markdown", "latex", "json"])
def test_each_form_is_written_to_a_file(files: dict[str, str], tmp_path: Path, form: str) -> None:
    for number, runs in enumerate((["bm25.trec"], ["bm25.trec", "dense.trec"])):
        path = tmp_path / f"{number}.out"
        words = ["evaluate", *(files[name] for name in runs), "--qrels", files["qrels"]]
        result = call(*words, "--format", form, "-o", path)
        assert result.stdout.strip() == str(path)
        assert "bm25.trec" in path.read_text()
        assert "nDCG@10" in path.read_text()


def test_the_page_of_trec_runs_shows_ranks(files: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    words = ["evaluate", files["bm25.trec"], files["dense.trec"], "--qrels", files["qrels"]]
    call(*words, "--format", "html", "-o", path)
    assert "rank 2 → rank 1" in path.read_text()
    result = call("evaluate", files["bm25.trec"], *words[3:], "--format", "html", "-o", path)
    assert "needs two runs" in result.output


def test_a_trec_run_stands_beside_a_run_folder(
    eval_config: Callable[..., Path], files: dict[str, str]
) -> None:
    folder = run(eval_config())[0].folder
    text = call("compare", folder, files["bm25.trec"]).stdout
    assert "Not known of TREC runs: bm25.trec." in text
    shown = values("compare", files["bm25.trec"], folder, files["dense.trec"])
    assert shown["runs"] == [folder.name, "dense.trec"]
    assert shown["measures"] == ["nDCG@10", "RR@10", "R@100"]
    mine = values("evaluate", folder, "--qrels", folder / "qrels.trec")["measures"]
    stored = json.loads((folder / "metrics.json").read_text())["measures"]
    assert mine[folder.name] == pytest.approx(stored)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["compare", "bm25.trec", "dense.trec"], InputError, "give them with --qrels"),
        (["evaluate", "bm25.trec", "--qrels", "nowhere"], DataError, "no data set 'nowhere'"),
        (
            ["evaluate", "bm25.trec", "--qrels", "nowhere.tsv"],
            InputError,
            "qrels='nowhere.tsv': there is no such file",
        ),
        (["evaluate", "nowhere", "--qrels", "qrels"], InputError, "give a TREC run"),
        (["evaluate", "qrels", "--qrels", "qrels"], DataError, "qrels:1: 'q1 0 d1 2' is not"),
        (
            ["evaluate", "bm25.trec", "bm25.trec", "--qrels", "qrels"],
            InputError,
            "given twice",
        ),
        (
            ["evaluate", "bm25.trec", "--qrels", "qrels", "--split", "dev"],
            InputError,
            "is a file, which has no splits",
        ),
        (
            ["evaluate", "bm25.trec", "dense.trec", "--qrels", "qrels", "--alpha", "3"],
            InputError,
            "alpha=3.0",
        ),
        (
            ["evaluate", "bm25.trec", "--qrels", "other"],
            InputError,
            "bm25.trec: none of the 3 queries of the run is judged",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    files: dict[str, str],
    tmp_path: Path,
    words: list[str],
    kind: type[ColmodernError],
    message: str,
) -> None:
    other = tmp_path / "other"
    other.write_text("q7 0 d1 1\n")
    paths = {**files, "other": str(other)}
    error = call(*(paths.get(word, word) for word in words)).exception
    assert isinstance(error, kind)
    assert message in str(error)
