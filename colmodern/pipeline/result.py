"""Results of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.config.models import EvalConfig
from colmodern.evaluation.fidelity import Fidelity
from colmodern.evaluation.measures import Evaluation
from colmodern.evaluation.stages import StageResult
from colmodern.pipeline.losses import Loss
from colmodern.report.notebook import measures_table, tables_html

EVERYTHING_ELSE = "everything else"  # name in a run's timings of the time outside its stages


@dataclass(frozen=True)
class Timing:
    """Cost of one stage when it ran, which may have been in an earlier call.

    Attributes:
        seconds: Wall time of the stage.
        items: Number of items that it worked on.
        unit: What is counted, as "documents".
        reused: Whether its result is from an earlier call.
    """

    seconds: float
    items: int
    unit: str
    reused: bool

    @property
    def per_second(self) -> float:
        """Items in a second; 0.0 where there were none."""
        return self.items / self.seconds if self.seconds else 0.0


def first_stage_seconds(timings: Mapping[str, Timing], first_stages: Iterable[str]) -> float:
    """Seconds of one query in the searches that another one begins with.

    Args:
        timings: stage -> what it cost.
        first_stages: Names of these searches. A TREC run was searched elsewhere and adds nothing.
    """
    names = {"find candidates", *(f"search {name}" for name in first_stages)}
    return sum(
        timing.seconds / max(1, timing.items)
        for stage, timing in timings.items()
        if timing.unit == "queries" and stage.partition(": ")[0] in names
    )


@dataclass(frozen=True, repr=False)
class EvalResult:
    """Results of a finished evaluation; the files of its folder hold the same.

    Attributes:
        folder: The run folder, with the report.
        config: The resolved configuration.
        evaluation: Values of the measures.
        timings: stage -> what it cost.
        facts: Counts and sizes, of documents, tokens and files.
        fidelity: Comparison with exact search, None where none ran beside the index.
        losses: Relevant documents that the index lost.
        loss_stages: Stages of this kind of index that may lose a document.
        stages: What each stage keeps of the relevant documents; empty for a search of one stage.
    """

    folder: Path
    config: EvalConfig
    evaluation: Evaluation
    timings: Mapping[str, Timing]
    facts: Mapping[str, Any]
    fidelity: Fidelity | None = None
    losses: Sequence[Loss] = ()
    loss_stages: Sequence[str] = ()
    stages: Sequence[StageResult] = ()

    def __repr__(self) -> str:
        return f"EvalResult({str(self.folder)!r}, {self.evaluation!r})"

    def _repr_html_(self) -> str:
        exact = None if self.fidelity is None else self.fidelity.exact
        n_queries = len(self.evaluation.per_query)
        return tables_html(
            measures_table(self.evaluation, exact),
            headline=f"{self.config.name}: {n_queries:,} queries; report in {self.folder}",
        )
