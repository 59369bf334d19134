"""A comparison as tables: scores, tests, the queries that changed most, and the recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from colmodern.evaluation.comparison import MEAN, Change, Difference, PerQuery
from colmodern.evaluation.recipe import FieldChange, shown
from colmodern.evaluation.significance import LEVEL
from colmodern.evaluation.tables import WORSE, Cell, Table

_MAX_CHARS = 90  # of a query in a table


@dataclass(frozen=True)
class Comparison:
    """Runs against a baseline, all that is said of them."""

    baseline: str
    runs: Sequence[str]
    datasets: Sequence[str]
    measures: Sequence[str]
    alpha: float  # a difference is told when its adjusted p-value is below
    seed: int  # of tests and intervals
    differences: Sequence[Difference]
    changes: Sequence[Change]  # by the first measure
    queries: Mapping[str, Mapping[str, str]]  # data set -> query_id -> text, of the changes
    recipe: Sequence[FieldChange]
    values: Mapping[str, PerQuery]  # of the baseline and the runs
    notes: Sequence[str] = ()  # what was left out

    def as_json(self) -> dict[str, Any]:
        """Everything but the values of each query, as plain values."""
        changes = [
            {**one._asdict(), "query": self.queries[one.dataset].get(one.query_id, "")}
            for one in self.changes
        ]
        return {
            "baseline": self.baseline,
            "runs": list(self.runs),
            "datasets": list(self.datasets),
            "measures": list(self.measures),
            "alpha": self.alpha,
            "interval": LEVEL,
            "seed": self.seed,
            "differences": [
                {**asdict(one), "difference": one.difference._asdict()} for one in self.differences
            ],
            "changes": changes,
            "recipe": [one._asdict() for one in self.recipe],
            "notes": list(self.notes),
        }


def score_tables(comparison: Comparison) -> list[Table]:
    """Runs in rows: their measures, or of several data sets a table a measure."""
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
    for one in comparison.differences:
        mean, low, high = one.difference
        names = [one.measure, *[one.dataset] * several_sets, *[one.run] * several_runs]
        rows.append(
            [
                *map(Cell, names),
                _judged(f"{mean:+.4f}", one, comparison.alpha),
                Cell(f"{low:+.4f} to {high:+.4f}"),
                Cell(_p(one.t_test)),
                Cell(_p(one.randomisation)),
                Cell(_p(one.holm)),
                Cell(f"{one.wins} / {one.ties} / {one.losses}"),
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
    for one in comparison.changes:
        text = comparison.queries[one.dataset].get(one.query_id, "")
        names = [*[one.run] * several_runs, *[one.dataset] * several_sets, one.query_id]
        numbers = [
            f"{one.baseline:.4f}",
            f"{one.value:.4f}",
            f"{one.value - one.baseline:+.4f}",
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
        [Cell(one.effect.value), Cell(one.field), *(Cell(shown(value)) for value in one.values)]
        for one in comparison.recipe
    ]
    return Table(
        "Recipes",
        ["effect", "field", *names],
        rows,
        n_words=2 + len(names),
        note="" if rows else "They do not differ.",
    )


def all_tables(comparison: Comparison) -> list[Table]:
    """All of them, in the order of reading."""
    return [
        *score_tables(comparison),
        test_table(comparison),
        change_table(comparison),
        recipe_table(comparison),
    ]


def _scores(comparison: Comparison, title: str, columns: Sequence[tuple[str, str, str]]) -> Table:
    """columns: name, data set, measure."""
    found = {(one.run, one.dataset, one.measure): one for one in comparison.differences}
    first = comparison.runs[0]
    rows = [
        [
            Cell(comparison.baseline),
            *(Cell(f"{found[first, data, measure].baseline:.4f}") for _, data, measure in columns),
        ]
    ]
    for run in comparison.runs:
        judged = [found[run, data, measure] for _, data, measure in columns]
        cells = [_judged(f"{one.value:.4f}", one, comparison.alpha) for one in judged]
        rows.append([Cell(run), *cells])
    return Table(title, ["run", *(name for name, _, _ in columns)], rows, note=_rule(comparison))


def _judged(text: str, one: Difference, alpha: float) -> Cell:
    return Cell(text, one.is_better(alpha), one.is_worse(alpha))


def _rule(comparison: Comparison) -> str:
    """What bold and the mark mean, and that nothing else is said."""
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
