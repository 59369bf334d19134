from __future__ import annotations

import json
from dataclasses import replace

import pytest

from colmodern.evaluation.comparison import MEAN, Change, Difference
from colmodern.evaluation.recipe import Effect, FieldChange
from colmodern.evaluation.significance import Estimate
from colmodern.report.comparison_tables import (
    Comparison,
    all_tables,
    change_table,
    recipe_table,
    score_tables,
    test_table,
)
from colmodern.report.tables import Table, latex, markdown

test_table.__test__ = False  # the name of a function, not of a test


def difference(
    mean: float, p: float, *, run: str = "new", dataset: str = "set", measure: str = "AP"
) -> Difference:
    return Difference(
        run=run,
        dataset=dataset,
        measure=measure,
        queries=50,
        baseline=0.4,
        value=0.4 + mean,
        difference=Estimate(mean, mean - 0.01, mean + 0.01),
        t_test=None if dataset == MEAN else p,
        randomisation=p,
        holm=p,
        wins=30,
        ties=5,
        losses=15,
    )


def comparison(*differences: Difference, **options) -> Comparison:
    values = {
        "baseline": "old",
        "runs": list(dict.fromkeys(difference.run for difference in differences)),
        "datasets": [d for d in dict.fromkeys(o.dataset for o in differences) if d != MEAN],
        "measures": list(dict.fromkeys(difference.measure for difference in differences)),
        "alpha": 0.05,
        "seed": 0,
        "differences": differences,
        "changes": [],
        "queries": {},
        "recipe": [],
        "values": {},
    }
    return Comparison(**{**values, **options})


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize(
    ("mean", "p", "better", "worse"),
    [
        (0.1, 0.01, True, False),
        (-0.1, 0.01, False, True),
        (0.1, 0.05, False, False),  # not below alpha
        (0.3, 0.2, False, False),  # large, and untold
    ],
)
def test_only_a_test_makes_a_score_bold(mean: float, p: float, better: bool, worse: bool) -> None:
    shown = comparison(difference(mean, p))
    for table in (score_tables(shown)[0], test_table(shown)):
        marked = [cell for row in table.rows for cell in row if cell.is_better or cell.is_worse]
        assert [(c.is_better, c.is_worse) for c in marked] == [(better, worse)] * (better or worse)
    assert ("**" in markdown(all_tables(shown))) is better
    assert ("textbf" in latex(all_tables(shown))) is better


def test_of_one_data_set_measures_stand_side_by_side() -> None:
    shown = comparison(difference(0.1, 0.5), difference(-0.1, 0.5, measure="RR"))
    [table] = score_tables(shown)
    assert table.header == ["run", "AP", "RR"]
    assert texts(table) == [["old", "0.4000", "0.4000"], ["new", "0.5000", "0.3000"]]


def test_of_several_data_sets_each_measure_has_a_table_with_the_mean() -> None:
    shown = comparison(
        *(
            difference(0.1, 0.5, dataset=data, run=run)
            for run in ("n1", "n2")
            for data in ("s1", "s2", MEAN)
        )
    )
    [table] = score_tables(shown)
    assert (table.title, table.header) == ("AP", ["run", "s1", "s2", MEAN])
    assert "Holm-adjusted over the 4 comparisons" in table.note
    tests = test_table(shown)
    assert tests.header[:3] == ["measure", "data set", "run"]
    assert [cell.text for cell in tests.rows[2]][1:7] == [
        MEAN, "n1", "+0.1000", "+0.0900 to +0.1100", "–", "0.500",
    ]  # fmt: skip


def test_small_p_values_are_not_told_as_zero() -> None:
    assert texts(test_table(comparison(difference(0.1, 0.0001))))[0][3:6] == ["<0.001"] * 3


def test_changed_queries_stand_with_their_text() -> None:
    shown = comparison(
        difference(0.1, 0.5),
        changes=[Change("new", "set", "q1", 0.25, 1.0), Change("new", "set", "q2", 1.0, 0.5)],
        queries={"set": {"q1": "x " * 99}},
    )
    first, second = texts(change_table(shown))
    assert first[:4] == ["q1", "0.2500", "1.0000", "+0.7500"]
    assert len(first[4]) == 90
    assert second[3:] == ["-0.5000", ""]
    assert shown.as_json()["changes"][0]["query"] == "x " * 99


def test_no_change_and_no_difference_are_said() -> None:
    shown = comparison(difference(0.0, 1.0))
    assert "No query's AP changed" in change_table(shown).note
    assert "do not differ" in recipe_table(shown).note


def test_recipes_show_every_runs_value() -> None:
    changes = [FieldChange("config.search.k", ("1", "2"), Effect.SCORE)]
    shown = comparison(difference(0.1, 0.5), recipe=changes)
    assert texts(recipe_table(shown)) == [["decides scores", "config.search.k", "1", "2"]]
    assert json.loads(json.dumps(shown.as_json()))["recipe"][0]["effect"] == "decides scores"
    assert replace(shown, recipe=[]).as_json()["recipe"] == []
