"""Measures through ir_measures: per query first, then the mean over all judged queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np

from colmodern.arguments import listed
from colmodern.checks import shown
from colmodern.errors import ConfigError, InputError
from colmodern.evaluation.inputs import checked_qrels, checked_run
from colmodern.notebook import html_view
from colmodern.types import Qrels, ScoredDoc

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")

Scores = np.ndarray[tuple[int], np.dtype[np.float32]]
Results = Sequence[ScoredDoc] | Mapping[str, float]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Values of measures, which are named as ir_measures prints them ("nDCG@10").

    Attributes:
        mean: measure -> mean over all judged queries.
        per_query: query_id -> measure -> value.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.4f}" for name, value in self.mean.items())
        return f"Evaluation({values}, n_queries={len(self.per_query)})"

    def _repr_html_(self) -> str:
        return html_view("evaluation_html", self)


def evaluate(
    run: Mapping[str, Results], qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES
) -> Evaluation:
    """Measure a run against judgments.

    A judged query without results gets each measure's default (0) and counts in the mean; a
    query without judgments is left out. Equal scores keep the order of the list; -inf ranks last.

    Args:
        run: query_id -> results, as ScoredDocs best first or as doc_id -> score.
        qrels: query_id -> doc_id -> grade.
        measures: Names that ir_measures knows.

    Returns:
        The measures of each judged query, and their means.

    Raises:
        ConfigError: A measure is unknown.
        InputError: There are no judgments, no query of the run is judged, or an id, a grade or a
            score is invalid; the message names the query and the document.
    """
    graded = checked_qrels(qrels)
    if not graded:
        raise InputError("qrels is empty; give judgments for at least one query")
    measures = listed("measures", measures, "pass a list of names, as ['nDCG@10']")
    if not measures:
        raise InputError("measures=[] is empty; pass a list of names, as ['nDCG@10']")
    parsed = [parse_measure(name) for name in measures]
    judged = checked_run(run, graded)
    scored = {query_id: dict(untied(judged.get(query_id, ()))) for query_id in graded}
    per_query = {
        query_id: {str(measure): float(measure.DEFAULT) for measure in parsed}
        for query_id in graded
    }
    # those without results have the default already, and some measures divide by their number
    scored = {query_id: results for query_id, results in scored.items() if results}
    for metric in ir_measures.iter_calc(parsed, graded, scored):
        per_query[metric.query_id][str(metric.measure)] = float(metric.value)
    mean = {
        str(measure): float(np.mean([values[str(measure)] for values in per_query.values()]))
        for measure in parsed
    }
    return Evaluation(mean, per_query)


def parse_measure(name: str) -> ir_measures.Measure:
    """The measure of that name, tried on one query first.

    Raises:
        ConfigError: ir_measures does not know it or cannot compute it here.
    """
    try:
        if not isinstance(name, str):
            raise TypeError(f"it is a {type(name).__name__}")
        measure = ir_measures.parse_measure(name)
        cutoff = measure.params.get("cutoff", 1)
        if cutoff < 1:  # a cutoff of 0 crashes the process
            raise ValueError(f"its cutoff is {cutoff}, below 1")
        ir_measures.calc_aggregate([measure], {"q": {"d": 1}}, {"q": {"d": 1.0}})
    # each of its providers fails in a way of its own: missing tools, assertions, bad parameters
    except Exception as error:
        raise ConfigError(
            f"measures: {shown(name)} is not a measure that ir_measures can compute here "
            f"({shown(str(error))}); write one as nDCG@10, RR@10, R@100 or AP"
        ) from error
    return measure


def cutoff_of(name: str) -> int | None:
    """Number of results that a measure reads, as 10 for "nDCG@10"; None where it reads all."""
    cutoff = parse_measure(name).params.get("cutoff")
    return None if cutoff is None else int(cutoff)


def untied(results: Results) -> list[ScoredDoc]:
    """Results with strictly falling float32 scores, so that every tool reads them in this order.

    trec_eval sorts equal scores by falling doc_id, whatever the order of the list; here a score
    that is not below the score before it moves to the next float32 down.
    """
    if isinstance(results, Mapping):
        results = sorted(
            (ScoredDoc(doc_id, score) for doc_id, score in results.items()),
            key=lambda scored: (-scored.score, scored.doc_id),
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and made finite below
        scores = np.array([score for _, score in results], np.float32)
    if np.isnan(scores).any():
        doc_id = results[int(np.isnan(scores).argmax())][0]
        raise InputError(f"document {shown(doc_id)} has the score nan, which cannot be ranked")
    if not (np.all(scores[1:] < scores[:-1]) and np.isfinite(scores).all()):
        scores = _strictly_falling(scores)  # slow, and rare: nearly all lists fall already
    return [
        ScoredDoc(result[0], score) for result, score in zip(results, scores.tolist(), strict=True)
    ]


def _strictly_falling(scores: Scores) -> Scores:
    """The nearest finite scores such that each is below the score before it."""
    top = np.finfo(np.float32).max
    falling = np.clip(scores, -top, top)
    with np.errstate(all="ignore"):  # overflow and underflow are expected at the ends of float32
        last = np.float32(np.inf)
        for i, score in enumerate(falling):
            last = falling[i] = min(score, np.nextafter(last, np.float32(-np.inf)))
        last = np.float32(-np.inf)
        for i in reversed(range(len(falling))):  # several at the lower end: make room above it
            if falling[i] > last:
                break
            last = falling[i] = np.nextafter(last, np.float32(np.inf))
    return falling
