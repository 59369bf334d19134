"""What an evaluation comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.config.models import EvalConfig
from colmodern.evaluation.fidelity import Fidelity
from colmodern.evaluation.measures import Evaluation
from colmodern.pipeline.fidelity_stage import Loss

EVERYTHING_ELSE = "everything else"  # of a run's timings: what is none of its stages


@dataclass(frozen=True)
class Timing:
    """What one stage cost when it ran, which may have been in an earlier call."""

    seconds: float
    items: int
    unit: str
    reused: bool

    @property
    def per_second(self) -> float:
        """Items in a second; 0.0 where there were none."""
        return self.items / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class EvalResult:
    """What a finished evaluation says; the same is in the files of its folder."""

    folder: Path
    config: EvalConfig  # as resolved
    evaluation: Evaluation
    timings: Mapping[str, Timing]
    facts: Mapping[str, Any]  # counts and sizes
    fidelity: Fidelity | None = None  # where exact search ran beside a compressed index
    losses: Sequence[Loss] = ()  # the relevant documents that the index lost
