from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import write_beir


@pytest.fixture
def suite(tmp_path: Path, pylate_bert: Path) -> Path:
    """A folder with one suite: a set, and a set of two parts."""
    for name in ("one", "tex", "gis"):
        write_beir(tmp_path / name)
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "_base.yaml").write_text(f"encoder: {{model: {pylate_bert}}}\n")
    (folder / "tiny.yaml").write_text(
        f"extends: _base.yaml\noutput: {tmp_path / 'runs'}\nsets:\n"
        f"  my/one: {{dataset: {{name: {tmp_path / 'one'}}}}}\n"
        f"  my/qa/tex: {{dataset: {{name: {tmp_path / 'tex'}}}}}\n"
        f"  my/qa/gis: {{dataset: {{name: {tmp_path / 'gis'}}}}}\n"
    )
    return folder


def test_a_folder_is_one_table_and_the_file_of_its_results(
    run, suite: Path, tmp_path: Path
) -> None:
    code, out, err = run("eval", suite, "search.k=50", "measures=[nDCG@10]")
    assert code == 0
    for label in ("nDCG@10", "tiny", "my/one", "my/qa (mean of 2)", "average of 2"):
        assert label in out
    assert out.splitlines()[-1] == str(tmp_path / "runs" / "suite.suite.json")
    assert "3 of 3: tiny on my/qa/gis" in err
    records = json.loads((tmp_path / "runs" / "suite.suite.json").read_text())
    assert [row["row"] for row in records] == ["my/one", "my/qa/tex", "my/qa/gis"]
    assert (
        "finished by an earlier run" in run("eval", suite, "search.k=50", "measures=[nDCG@10]")[2]
    )
    code, out, _ = run("eval", suite, "--only", "my/qa/*")
    assert (code, "my/one" in out) == (0, False)


def test_a_set_that_fails_makes_status_3_at_the_end(run, suite: Path, tmp_path: Path) -> None:
    (tmp_path / "tex" / "queries.jsonl").unlink()
    code, out, err = run("eval", suite / "tiny.yaml")
    assert code == 3
    assert "failed: tiny on my/qa/tex: cannot read" in err
    assert "1 of 3 evaluations failed" in err
    line = next(line for line in out.splitlines() if "my/qa (mean of 2)" in line)
    assert "-" in line
    assert out.splitlines()[-1].endswith("tiny.suite.json")


def test_a_call_without_a_config_says_so(run) -> None:
    assert run("eval")[0] == 2
    code, _, err = run("eval", "search.k=5")
    assert (code, "give a config" in err) == (2, True)
    code, _, err = run("eval", "nowhere.yaml")
    assert (code, "cannot read nowhere.yaml: there is no such file, and no recipe" in err) == (
        2,
        True,
    )
