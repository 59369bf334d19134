"""Results of a sweep: its points, the best of them, and the settings that vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from colmodern.evaluation.pareto import pareto_front
from colmodern.evaluation.significance import Estimate

# axis -> its heading; in the order of the table
AXES = {
    "document_length": "length",
    "cut": "cut",
    "pool_factor": "pool",
    "nbits": "bits",
    "nprobe": "nprobe",
    "n_candidates": "candidates",
    "rescore": "rescored",
    "depth": "depth",
    "k1": "k1",
    "b": "b",
}
_OPEN = {
    "document_length": "all",
    "nprobe": "auto",
    "n_candidates": "auto",
    "depth": "all",
}  # what None means


@dataclass(frozen=True)
class SweepPoint:
    """One combination of settings with its results.

    Attributes:
        settings: by axis.
        cut_share: share of documents cut from a longer encoding; their embeddings are close to
            those of a new encoding, and not the same.
        measures: with intervals.
        exact: measures of exact search on the same embeddings.
        difference: query by query from the sweep's reference, in the first measure.
        latency_ms: median and 95th percentile of a query.
        n_bytes: bytes of all files that a search reads.
    """

    settings: Mapping[str, Any]
    is_exact: bool
    cut_share: float
    measures: Mapping[str, Estimate]
    exact: Mapping[str, float]
    overlap: Mapping[str, float]
    difference: Estimate
    latency_ms: tuple[float, float]
    n_tokens: int
    n_bytes: int
    bytes_per_token: float
    build_seconds: float

    @property
    def quality(self) -> float:
        """Mean of the first measure."""
        return next(iter(self.measures.values())).mean


@dataclass(frozen=True)
class LengthPoint:
    """Exact search on documents of one length; fields as in SweepPoint."""

    length: int | None
    cut: str
    pool_factor: float
    cut_share: float
    value: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        reference: what differences are measured from, in words.
        lengths: empty where there is only one length.
    """

    name: str
    description: str
    measure: str
    points: Sequence[SweepPoint]
    lengths: Sequence[LengthPoint]
    reference: str
    reference_value: Estimate

    @property
    def fronts(self) -> list[tuple[bool, bool]]:
        """Whether each point is on the front of latency, and on the front of bytes per token."""
        quality = [point.quality for point in self.points]
        latency = [point.latency_ms[0] for point in self.points]
        size = [point.bytes_per_token for point in self.points]
        # search settings change no size: among equally small and good points, the fastest counts
        fronts = pareto_front(latency, quality, size), pareto_front(size, quality, latency)
        return list(zip(*fronts, strict=True))


class Axis(NamedTuple):
    """A setting, its heading and whether it differs between points."""

    name: str
    heading: str
    varies: bool


def axes_of(sweep: Sweep) -> list[Axis]:
    """The settings of a sweep's points, in the order of the table."""
    axes = []
    for name, heading in AXES.items():
        values = {repr(p.settings[name]) for p in sweep.points if name in p.settings}
        if values:
            axes.append(Axis(name, heading, len(values) > 1))
    return axes


def shown(axis: str, value: object) -> str:
    """A setting as shown in the table."""
    if value is None:
        return _OPEN.get(axis, "-")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
