"""What each stage of a search keeps of the relevant documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from colmodern.evaluation.measures import evaluate
from colmodern.types import Qrels, Run


class StageResult(NamedTuple):
    """A stage of a search, or one of several searches that are fused.

    Attributes:
        name: What made the ranking.
        per_query: Mean number of its results.
        measures: measure -> mean over all judged queries.
        recall: Mean share of a query's relevant documents that are among its results.
        n_relevant: Relevant documents that reached the stage.
        n_kept: Those among its results.
    """

    name: str
    per_query: float
    measures: Mapping[str, float]
    recall: float
    n_relevant: int
    n_kept: int

    @property
    def n_lost(self) -> int:
        """Relevant documents that reached the stage and are no results of it."""
        return self.n_relevant - self.n_kept

    def as_json(self) -> dict[str, object]:
        """All of it as plain values."""
        return {**self._asdict(), "measures": dict(self.measures), "n_lost": self.n_lost}


def measure_stages(
    first: Mapping[str, Run], last: Run, name: str, qrels: Qrels, measures: Sequence[str]
) -> list[StageResult]:
    """The first stages, side by side, then the last one.

    Args:
        first: Name of a first stage -> its run.
        last: The final run.
        name: Name of the last stage.
        qrels: query_id -> doc_id -> grade.
        measures: Names that ir_measures knows.
    """
    relevant = {
        query_id: {doc_id for doc_id, grade in grades.items() if grade > 0}
        for query_id, grades in qrels.items()
    }
    reached: dict[str, set[str]] = {query_id: set() for query_id in relevant}
    stages = []
    for stage, run in first.items():
        stages.append(_measure(stage, run, relevant, relevant, qrels, measures))
        for query_id, wanted in relevant.items():
            reached[query_id] |= wanted & _ids(run, query_id)
    return [*stages, _measure(name, last, relevant, reached, qrels, measures)]


def _measure(
    name: str,
    run: Run,
    relevant: Mapping[str, set[str]],
    reached: Mapping[str, set[str]],
    qrels: Qrels,
    measures: Sequence[str],
) -> StageResult:
    kept = {query_id: wanted & _ids(run, query_id) for query_id, wanted in relevant.items()}
    shares = [len(kept[q]) / len(wanted) for q, wanted in relevant.items() if wanted]
    return StageResult(
        name,
        sum(len(run.get(query_id, ())) for query_id in qrels) / max(1, len(qrels)),
        evaluate({q: run.get(q, []) for q in qrels}, qrels, measures).mean,
        sum(shares) / max(1, len(shares)),
        sum(map(len, reached.values())),
        sum(len(kept[q] & reached[q]) for q in kept),
    )


def _ids(run: Run, query_id: str) -> set[str]:
    return {doc_id for doc_id, _ in run.get(query_id, ())}
