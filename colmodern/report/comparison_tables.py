"""A comparison as tables: scores, tests, the queries that changed most, and the recipes."""

from __future__ import annotations

from collections.abc import Sequence

from colmodern.evaluation.comparison import MEAN, Comparison, Difference
from colmodern.evaluation.recipe import shown
from colmodern.evaluation.significance import LEVEL
from colmodern.report.tables import WORSE, Cell, Table

_MAX_CHARS = 90  # shown of a query in a table


def score_tables(comparison: Comparison) -> list[Table]:
    """Runs in rows, measures in columns; with several data sets, one table a measure."""
    if len(comparison.datasets) == 1:
        columns = [(measure, comparison.datasets[0], measure) for measure in comparison.measures]
        return [_scores(comparison, comparison.datasets[0], columns)]
    return [
        _scores(
            comparison,
            measure,
            [(name, name, measure) for name in (*comparison.datasets, MEAN)],
        )
        for measure in comparison.measures
    ]


def test_table(comparison: Comparison) -> Table:
    """Every difference with its interval, p-values and counts of queries."""
    several_sets, several_runs = len(comparison.datasets) > 1, len(comparison.runs) > 1
    words = ["measure", *["data set"] * several_sets, *["run"] * several_runs]
    numbers = ["difference", f"{LEVEL:.0%} interval", "p (t-test)", "p (randomisation)", "p (Holm)"]
    rows = []
    for difference in comparison.differences:
        mean, low, high = difference.difference
        names = [
            difference.measure,
            *[difference.dataset] * several_sets,
            *[difference.run] * several_runs,
        ]
        rows.append(
            [
                *map(Cell, names),
                _judged(f"{mean:+.4f}", difference, comparison.alpha),
                Cell(f"{low:+.4f} to {high:+.4f}"),
                Cell(_p(difference.t_test)),
                Cell(_p(difference.randomisation)),
                Cell(_p(difference.holm)),
                Cell(f"{difference.wins} / {difference.ties} / {difference.losses}"),
            ]
        )
    return Table(
        f"Differences from {comparison.baseline}",
        [*words, *numbers, "wins / ties / losses"],
        rows,
        n_words=len(words),
        note="Intervals: percentile bootstrap over queries. Wins: queries better than in the baseline.",
    )


def change_table(comparison: Comparison) -> Table:
    """The queries that changed most, by the first measure."""
    several_sets, several_runs = len(comparison.datasets) > 1, len(comparison.runs) > 1
    words = [*["run"] * several_runs, *["data set"] * several_sets, "query"]
    measure = comparison.measures[0]
    now = "now" if several_runs else comparison.runs[0]
    rows = []
    for change in comparison.changes:
        text = comparison.queries[change.dataset].get(change.query_id, "")
        names = [*[change.run] * several_runs, *[change.dataset] * several_sets, change.query_id]
        numbers = [
            f"{change.baseline:.4f}",
            f"{change.value:.4f}",
            f"{change.value - change.baseline:+.4f}",
        ]
        rows.append([*map(Cell, names), *map(Cell, numbers), Cell(_cut(text))])
    return Table(
        f"Queries whose {measure} changed most",
        [*words, comparison.baseline, now, "change", "text"],
        rows,
        n_words=len(words),
        words=(len(words) + 3,),
        note="" if rows else f"No query's {measure} changed.",
    )


def recipe_table(comparison: Comparison) -> Table:
    """Every field in which the runs differ, those that can move a score first."""
    names = [comparison.baseline, *comparison.runs]
    rows = [
        [
            Cell(change.effect.value),
            Cell(change.field),
            *(Cell(shown(value)) for value in change.values),
        ]
        for change in comparison.recipe
    ]
    return Table(
        "Recipes",
        ["effect", "field", *names],
        rows,
        n_words=2 + len(names),
        note=_recipe_note(comparison),
    )


def _recipe_note(comparison: Comparison) -> str:
    notes = []
    if len(comparison.without_recipe) <= len(comparison.runs) - 1 and not comparison.recipe:
        notes.append("They do not differ.")
    if comparison.without_recipe:
        names = ", ".join(comparison.without_recipe)
        notes.append(f"Not known of TREC runs: {names}.")
    return " ".join(notes)


def all_tables(comparison: Comparison) -> list[Table]:
    """All tables of a comparison, in the order of reading."""
    return [
        *score_tables(comparison),
        test_table(comparison),
        change_table(comparison),
        recipe_table(comparison),
    ]


def _scores(comparison: Comparison, title: str, columns: Sequence[tuple[str, str, str]]) -> Table:
    """Table of values; columns: (name, data set, measure) of each."""
    by_cell = {
        (difference.run, difference.dataset, difference.measure): difference
        for difference in comparison.differences
    }
    first = comparison.runs[0]
    rows = [
        [
            Cell(comparison.baseline),
            *(
                Cell(f"{by_cell[first, data, measure].baseline:.4f}")
                for _, data, measure in columns
            ),
        ]
    ]
    for run in comparison.runs:
        judged = [by_cell[run, data, measure] for _, data, measure in columns]
        cells = [
            _judged(f"{difference.value:.4f}", difference, comparison.alpha)
            for difference in judged
        ]
        rows.append([Cell(run), *cells])
    return Table(title, ["run", *(name for name, _, _ in columns)], rows, note=_rule(comparison))


def _judged(text: str, difference: Difference, alpha: float) -> Cell:
    return Cell(text, difference.is_better(alpha), difference.is_worse(alpha))


def _rule(comparison: Comparison) -> str:
    """The note under a table: what bold and the mark mean."""
    n = len(comparison.runs) * len(comparison.datasets)
    family = f", Holm-adjusted over the {n} comparisons of a measure" if n > 1 else ""
    return (
        f"Bold: better than {comparison.baseline}; {WORSE}: worse; by a two-sided randomisation "
        f"test paired by query{family}, p < {comparison.alpha:g}. Other differences may be chance."
    )


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"
