"""Results of several shards, which say what they lack."""

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
