"""TREC runs of any tool: measured against judgments, and compared with the first of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from colmodern.checks import shown
from colmodern.datasets.judgments import read_judgments
from colmodern.datasets.load import load_dataset
from colmodern.errors import InputError
from colmodern.evaluation.comparison import Comparison
from colmodern.evaluation.measures import DEFAULT_MEASURES, Evaluation, parse_measure
from colmodern.pipeline.compare.runs import compare_runs, notes_on, values_of
from colmodern.pipeline.compare.stored_run import JudgedQueries, System, read_trec_systems
from colmodern.reading import user_path

_FILES = frozenset({".gz", ".qrel", ".qrels", ".trec", ".tsv", ".txt"})  # no data set is called so


class EvaluatedRuns(NamedTuple):
    """TREC runs and their measures.

    Attributes:
        judged: What they were measured against.
        systems: The runs, in their order.
        evaluations: Name of a run -> its measures.
        comparison: The others against the first; None for a single run.
        notes: What the runs lack, or have beyond the judgments.
    """

    judged: JudgedQueries
    systems: Sequence[System]
    evaluations: dict[str, Evaluation]
    comparison: Comparison | None
    notes: Sequence[str]

    def as_json(self, *, per_query: bool = False) -> dict[str, object]:
        """Everything as plain values; per_query: with the measures of each query."""
        values: dict[str, object] = {
            "qrels": self.judged.name,
            "queries": len(self.judged.qrels),
            "measures": {name: scores.mean for name, scores in self.evaluations.items()},
            "comparison": None if self.comparison is None else self.comparison.as_json(),
            "notes": list(self.notes),
        }
        if per_query:
            values["per_query"] = {name: s.per_query for name, s in self.evaluations.items()}
        return values


def read_judged(source: str, split: str | None = None) -> JudgedQueries:
    """The judgments of a file, or of a collection with the texts of its queries.

    Args:
        source: A file of judgments, TREC or BEIR, plain or gzipped; or a collection's name or folder.
        split: Split of a collection's judgments.

    Raises:
        DataError: It is neither, or malformed.
        InputError: There is no file of that name, or a split is given for a file.
    """
    path = user_path(source, InputError)
    if os.path.isfile(path):
        if split is not None:
            raise InputError(f"split={split}: {path} is a file, which has no splits; leave it out")
        return JudgedQueries(path.name, read_judgments(path, None, None, is_trec=True).qrels, {})
    if path.suffix in _FILES and not path.exists():
        raise InputError(
            f"qrels={shown(source)}: there is no such file; give a file of judgments, or a "
            "collection's name or folder"
        )
    dataset = load_dataset(source, split=split)
    return JudgedQueries(dataset.name, dataset.qrels, dataset.queries)


def evaluate_runs(
    paths: Sequence[str],
    judged: JudgedQueries,
    *,
    measures: Sequence[str] = (),
    alpha: float = 0.05,
    seed: int = 0,
) -> EvaluatedRuns:
    """Measure TREC runs, and compare them with the first, query by query.

    Args:
        paths: TREC runs, plain or gzipped, or run folders, of which only the results are read.
        judged: What they are measured against.
        measures: Measures as ir_measures names them; default: nDCG@10, RR@10 and R@100.
        alpha: Level below which a Holm-adjusted p-value is a difference.
        seed: Seed of the permutation tests.

    Raises:
        ConfigError: A measure is unknown.
        DataError: A run is malformed.
        InputError: None of a run's queries is judged, or a run is given twice.
    """
    names = list(dict.fromkeys(str(parse_measure(name)) for name in measures or DEFAULT_MEASURES))
    systems = read_trec_systems(paths, judged)
    runs = {system.name: system.runs[judged.name] for system in systems}
    evaluations = {name: values_of(run, names) for name, run in runs.items()}
    notes = [note for run in runs.values() for note in notes_on(run, names)]
    comparison = None
    if len(systems) > 1:
        comparison = compare_runs(systems, measures=names, alpha=alpha, seed=seed)
    return EvaluatedRuns(judged, systems, evaluations, comparison, notes)
