"""Results of several shards, which say what they lack, and what is made of such results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, SupportsIndex, overload

from colmodern.types import BatchResults, Result, Results


class ShardsReport(NamedTuple):
    """Shards that answered a search, and those that did not.

    Attributes:
        answered: Names of the shards that were searched.
        missing: Names of those that did not answer, and why.
    """

    answered: tuple[str, ...]
    missing: Mapping[str, str]


class ShardedResults(Results[Result]):
    """Results of one query from several shards.

    Attributes:
        shards: Which shards answered, and which did not.
    """

    __slots__ = ("shards",)

    def __init__(self, results: Iterable[Result], shards: ShardsReport) -> None:
        super().__init__(results)
        self.shards = shards

    @property
    def is_complete(self) -> bool:
        """Whether every shard answered."""
        return not self.shards.missing

    @overload
    def __getitem__(self, key: SupportsIndex) -> Result: ...
    @overload
    def __getitem__(self, key: slice) -> ShardedResults[Result]: ...
    def __getitem__(self, key: SupportsIndex | slice) -> Result | ShardedResults[Result]:
        if isinstance(key, slice):
            return ShardedResults(list(self)[key], self.shards)
        return super().__getitem__(key)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (list(self), self.shards)


class ShardedBatchResults(BatchResults[Result]):
    """Results of several queries from several shards.

    Attributes:
        shards: Which shards answered, and which did not.
    """

    __slots__ = ("shards",)

    def __init__(self, results: Iterable[list[Result]], shards: ShardsReport) -> None:
        super().__init__(results)
        self.shards = shards

    @property
    def is_complete(self) -> bool:
        """Whether every shard answered."""
        return not self.shards.missing

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (list(self), self.shards)


def report_of(answer: object, name: str | None = None) -> ShardsReport | None:
    """The report of the shards that an answer comes from; None where it comes from no shards.

    Args:
        answer: What a search returned.
        name: The index that was searched, which then stands before the names of its shards.
    """
    if not isinstance(answer, ShardedResults | ShardedBatchResults):
        return None
    if name is None:
        return answer.shards
    return ShardsReport(
        tuple(f"{name}: {shard}" for shard in answer.shards.answered),
        {f"{name}: {shard}": reason for shard, reason in answer.shards.missing.items()},
    )


def joined(reports: Iterable[ShardsReport | None]) -> ShardsReport | None:
    """One report for results that several searches made: a shard that one of them lacks is missing."""
    known = [report for report in reports if report is not None]
    if not known:
        return None
    missing = {name: reason for report in known for name, reason in report.missing.items()}
    answered = dict.fromkeys(name for report in known for name in report.answered)
    return ShardsReport(tuple(name for name in answered if name not in missing), missing)


def with_report(results: Results[Result], report: ShardsReport | None) -> Results[Result]:
    """Results that say what they lack."""
    return results if report is None else ShardedResults(results, report)


def batch_of(results: Iterable[Results[Result]]) -> BatchResults[Result]:
    """Results of several queries, which lack what one of them lacks."""
    rankings = list(results)
    report = joined(map(report_of, rankings))
    return BatchResults(rankings) if report is None else ShardedBatchResults(rankings, report)
