"""Runs that real evaluations wrote, compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest
from conftest import QRELS, QUERIES, write_beir
from pipeline.evaluate.test_run import run

from colmodern.errors import ConfigError, InputError, StorageError
from colmodern.evaluation.comparison import MEAN
from colmodern.evaluation.recipe import Effect
from colmodern.pipeline.compare.runs import compare_runs
from colmodern.pipeline.compare.stored_run import read_systems

Evaluate = Callable[..., Path]


@pytest.fixture
def evaluated(eval_config: Callable[..., Path]) -> Evaluate:
    """Evaluates the small collection with settings of one's own."""
    config = eval_config()

    def evaluate(name: str, *overrides: str) -> Path:
        return run(config, f"name={name}", *overrides)[0].folder

    return evaluate


def compare(*folders: Path | str, **options):
    return compare_runs(read_systems([str(folder) for folder in folders]), **options)


def test_scores_are_those_of_the_runs_and_of_trec_eval(evaluated: Evaluate) -> None:
    a, b = evaluated("a"), evaluated("b", "encoder.query_length=8")
    found = compare(a, b, measures=["nDCG@10", "AP", "P@5"])
    assert (found.baseline, found.runs, found.datasets) == ("a", ["b"], ["small"])
    for one in found.differences:
        measure = ir_measures.parse_measure(one.measure)
        for folder, value in ((a, one.baseline), (b, one.value)):
            outside = ir_measures.pytrec_eval.calc_aggregate(
                [measure],
                list(ir_measures.read_trec_qrels(str(folder / "qrels.trec"))),
                list(ir_measures.read_trec_run(str(folder / "run.trec"))),
            )
            assert value == pytest.approx(outside[measure], abs=1e-6)


def test_the_recipes_differ_in_what_was_changed(evaluated: Evaluate) -> None:
    a, b = evaluated("a"), evaluated("b", "encoder.query_length=8")
    fields = {one.field: one.effect for one in compare(a, b).recipe}
    assert fields == {"config.encoder.query_length": Effect.SCORE, "config.name": Effect.NONE}


def test_the_changed_queries_come_with_their_text(evaluated: Evaluate) -> None:
    a, b = evaluated("a"), evaluated("b", "encoder.query_length=4")
    found = compare(a, b, measures=["RR@10"]).as_json()
    texts = {record["_id"]: record["text"] for record in QUERIES}
    assert all(one["query"] == texts[one["query_id"]] for one in found["changes"])
    json.dumps(found)


def test_a_run_equals_itself_and_same_input_gives_the_same_figures(evaluated: Evaluate) -> None:
    a, b = evaluated("a"), evaluated("b")
    found = compare(a, b)
    assert all(one.ties == one.queries == 3 for one in found.differences)
    assert found.changes == []
    assert found == compare(a, b)


def test_runs_over_other_queries_are_refused_or_compared_where_they_agree(
    evaluated: Evaluate,
) -> None:
    a, b = evaluated("a"), evaluated("b", "dataset.max_queries=2")
    message = (
        "do not judge the same queries of small: 3 against 2, 2 with the same id, 2 .*--common"
    )
    with pytest.raises(InputError, match=message):
        compare(a, b)
    with pytest.raises(InputError, match="2 against 3"):
        compare(b, a)
    message = r"in all runs; compare those with --common, or evaluate with the same split"
    with pytest.raises(InputError, match=message):
        compare(a, b)
    found = compare(a, b, common=True)
    assert {one.queries for one in found.differences} == {2}
    assert "compared on the 2 queries" in found.notes[0]


def other_small(folder: Path, change: dict[str, str]) -> Path:
    """The small collection under its name with other queries or judgments."""
    queries = [{**q, "text": change.get(q["text"], q["text"])} for q in QUERIES]
    return write_beir(folder / "small", queries=queries, qrels=[change.get(q, q) for q in QRELS])


@pytest.mark.parametrize("change", [{"q1\td1\t2": "q1\td1\t1"}, {"wing lift": "lift of wings"}])
def test_other_grades_and_other_texts_are_other_queries(
    evaluated: Evaluate, tmp_path: Path, change: dict[str, str]
) -> None:
    other = other_small(tmp_path / "other", change)
    a, b = evaluated("a"), evaluated("b", f"dataset.name={other}")
    with pytest.raises(InputError, match="3 against 3, 3 with the same id, 2 of them with"):
        compare(a, b)
    assert {one.queries for one in compare(a, b, common=True).differences} == {2}


def test_runs_of_different_data_sets_are_named_as_such(evaluated: Evaluate, tmp_path: Path) -> None:
    queries = [{**query, "text": f"{query['text']} again"} for query in QUERIES]
    second = write_beir(tmp_path / "second", queries=queries)
    a, b = evaluated("a"), evaluated("b", f"dataset.name={second}")
    with pytest.raises(InputError, match=r"a is of small and .*b of second; compare runs of one"):
        compare(a, b)


def test_folders_of_runs_are_paired_by_data_set(evaluated: Evaluate, tmp_path: Path) -> None:
    second = write_beir(tmp_path / "second")
    for name, override in (("x", "search.k=100"), ("y", "encoder.query_length=4")):
        out = f"output={tmp_path / name}"
        evaluated("one", override, out)
        evaluated("two", override, out, f"dataset.name={second}")
    found = compare(tmp_path / "x", tmp_path / "y")
    assert found.datasets == ["small", "second"]
    assert {one.dataset for one in found.differences} == {"small", "second", MEAN}
    assert found.recipe[0].field == "config.encoder.query_length"
    # of each set the same: one row, not two
    assert "config.output" in {one.field for one in found.recipe}
    shutil.rmtree(tmp_path / "y" / "two")
    with pytest.raises(InputError, match="not all have the same data sets: y has no second"):
        compare(tmp_path / "x", tmp_path / "y")
    assert compare(tmp_path / "x", tmp_path / "y", common=True).datasets == ["small"]


def test_a_pattern_of_runs_is_one_system(evaluated: Evaluate, tmp_path: Path) -> None:
    second = write_beir(tmp_path / "second")
    for name in ("x", "y"):
        folder = evaluated(f"{name}-one")
        evaluated(f"{name}-two", f"dataset.name={second}")
    found = compare(folder.parent / "x-*", folder.parent / "y-*")
    assert (found.baseline, found.datasets) == ("x-*", ["small", "second"])


def test_an_earlier_run_that_was_kept_aside_is_not_of_the_folder(
    evaluated: Evaluate, tmp_path: Path
) -> None:
    evaluated("a")
    again = evaluated("a", "search.k=120")
    assert (again.parent / "a.1").is_dir()
    b = evaluated("b", "search.k=120", f"output={tmp_path / 'elsewhere'}")
    assert compare(again.parent, b).datasets == ["small"]
    assert compare(again.parent / "a.1", again).baseline == "a.1"


def test_what_cannot_be_compared_is_refused(evaluated: Evaluate, tmp_path: Path) -> None:
    a, b = evaluated("a"), evaluated("b", "measures=[AP]", "search.k=20")
    with pytest.raises(InputError, match="give a baseline and at least one other"):
        compare(a)
    with pytest.raises(InputError, match="is given twice"):
        compare(a, a)
    with pytest.raises(InputError, match="no measure in common"):
        compare(a, b)
    with pytest.raises(InputError, match=r"R@100 looks at 100 .*search.k=20"):
        compare(a, b, measures=["R@100"])
    with pytest.raises(ConfigError, match="not a measure"):
        compare(a, b, measures=["nDGC@10"])
    with pytest.raises(InputError, match="alpha=2"):
        compare(a, b, measures=["AP"], alpha=2)
    with pytest.raises(InputError, match="holds no run"):
        compare(a, tmp_path / "nothing")
    with pytest.raises(InputError, match="has two runs of small"):
        compare(a.parent, b)


def test_a_run_that_was_changed_since_is_refused(evaluated: Evaluate) -> None:
    a, b = evaluated("a"), evaluated("b")
    lines = (b / "run.trec").read_text().splitlines()
    (b / "run.trec").write_text("\n".join(line for line in lines if " d1 " not in line) + "\n")
    with pytest.raises(StorageError, match=r"metrics.json says nDCG@10 = .*changed since"):
        compare(a, b)


def test_a_setting_by_its_old_name_is_no_difference(evaluated: Evaluate) -> None:
    a, b = evaluated("a"), evaluated("b")
    config = b / "config.yaml"
    config.write_text(config.read_text().replace("exact_max_memory", "memory_budget"))
    fields = [change.field for change in compare(a, b).recipe]
    assert not any("memory" in field for field in fields)
