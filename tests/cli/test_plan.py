from __future__ import annotations

import json


def test_one_evaluation_is_two_tables(run, eval_config) -> None:
    status, out, _ = run("plan", eval_config(), "--no-timing")
    assert status == 0
    assert "token embeddings" in out
    assert "index, 8 bits" in out


def test_many_are_a_row_each(run, eval_config) -> None:
    status, out, _ = run("plan", eval_config(), eval_config("other"), "--no-timing")
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines() if "MB\t" in line] == [
        "small",
        "other",
        "all",
    ]


def test_json_is_the_whole_of_it(run, eval_config) -> None:
    status, out, _ = run("plan", eval_config(), "--no-timing", "--json")
    assert status == 0
    [plan] = json.loads(out)
    assert plan["n_docs"] == 6
    assert plan["peak_memory"] == max(plan["memory"].values())


def test_what_does_not_fit_is_status_3(run, eval_config) -> None:
    status, _, said = run("plan", eval_config(), "--no-timing", "max_memory=10M")
    assert status == 3
    assert "does not fit max_memory=10.0 MB" in said


def test_an_empty_sample_is_refused(run, eval_config) -> None:
    status, _, said = run("plan", eval_config(), "--sample", "0")
    assert status == 2
    assert "at least 1 document" in said
