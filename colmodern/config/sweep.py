"""Sweeps: one evaluation under every combination of some settings."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from colmodern.config.fields import PoolFactor, SettingsModel
from colmodern.config.models import EvalConfig
from colmodern.config.suite import load_suite

_MOST_POINTS = 10_000
Cut = Literal["encode", "stored"]
# axes of the grid that are settings of an index: of its building, then of its search
INDEX_AXES = ("nbits", "nprobe", "n_candidates", "rescore", "depth", "k1", "b")
EMBEDDING_AXES = ("document_length", "pool_factor")


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


_List = BeforeValidator(_as_list)  # one value may stand without brackets
_Count = Annotated[int, Field(ge=1)]
_Length = Annotated[int, Field(ge=4)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GridConfig(SettingsModel):
    """The values to combine; an axis that is left out keeps the evaluation's own value."""

    nbits: Annotated[tuple[Literal[1, 2, 4, 8], ...], _List] | None = Field(
        None, description="bits for each dimension of a token; an index is built for each value"
    )
    nprobe: Annotated[tuple[_Count | None, ...], _List] | None = Field(
        None, description="number of centroids probed for each query token; null: chosen"
    )
    n_candidates: Annotated[tuple[_Count | None, ...], _List] | None = Field(
        None, description="number of documents scored with their compressed tokens; null: chosen"
    )
    rescore: Annotated[tuple[bool, ...], _List] | None = Field(
        None, description="exact scores for the last candidates, from the stored embeddings"
    )
    depth: Annotated[tuple[_Count | None, ...], _List] | None = Field(
        None, description="number of first candidates that are reranked; null: all"
    )
    k1: Annotated[tuple[_Weight, ...], _List] | None = Field(
        None, description="how much further occurrences of a word add, for bm25"
    )
    b: Annotated[tuple[_Weight, ...], _List] | None = Field(
        None, description="how much long documents are held back, for bm25"
    )
    pool_factor: Annotated[tuple[PoolFactor, ...], _List] | None = Field(
        None,
        description="number of tokens for each vector that is kept, pooled from the stored embeddings",
    )
    document_length: Annotated[tuple[_Length | None, ...], _List] | None = Field(
        None,
        description="number of tokens after which documents are cut; null: the evaluation's own length",
    )
    cut: Annotated[tuple[Cut, ...], _List] = Field(
        ("encode",),
        description="encode: documents are encoded anew at each document_length; stored: the first tokens of "
        "the one long encoding are kept, which is faster and not quite the same, because they were "
        "encoded with the rest of the text; give both to see the difference",
    )

    @field_validator("*")
    @classmethod
    def _has_each_value_once(cls, value: tuple[object, ...] | None) -> tuple[object, ...] | None:
        if value is not None and not value:
            raise ValueError("is empty; give at least one value, or leave it out")
        if value is not None and len(set(value)) < len(value):
            twice = next(repeated for repeated, n in Counter(value).items() if n > 1)
            raise ValueError(f"{twice} is given twice; give each value once")
        return value


@dataclass(frozen=True)
class Combination:
    """One point of a grid: its settings by axis, and the evaluation with them in place."""

    settings: dict[str, Any]
    cut: Cut
    config: EvalConfig


class SweepConfig(EvalConfig):
    """An evaluation, and the grid of settings that take the place of its own."""

    sweep: GridConfig = Field(description="lists of values for settings of index and encoder")

    def evaluation(self) -> EvalConfig:
        """The evaluation with its own values, of which the grid makes others."""
        return EvalConfig.model_validate(self.model_dump(exclude={"sweep"}))

    def combinations(self) -> list[Combination]:
        """All of them: first by what is encoded, then by what is built, then by what is searched."""
        base, grid = self.evaluation(), self.sweep
        axes = {
            "cut": grid.cut,
            **{axis: self._values(axis, base.encoder) for axis in EMBEDDING_AXES},
        }
        axes |= {axis: self._values(axis, base.index) for axis in base.index.axes}
        combinations = []
        for values in itertools.product(*axes.values()):
            settings = dict(zip(axes, values, strict=True))
            cut = settings.pop("cut")
            combinations.append(Combination(settings, cut, _with(base, settings)))
        return combinations

    def _values(self, axis: str, own: object) -> Sequence[Any]:
        values: Sequence[Any] | None = getattr(self.sweep, axis)
        return (getattr(own, axis),) if values is None else values

    def _cure_of(self, axis: str) -> str:
        if new := self.index.renamed.get(axis):
            return f"it is now called sweep.{new}"
        kind = "bm25" if axis in ("k1", "b") else "rerank" if axis == "depth" else "plaid"
        return f"set index.kind to {kind} or leave it out"

    @model_validator(mode="after")
    def _all_combinations_are_possible(self) -> SweepConfig:
        grid = self.sweep
        axes = [axis for axis in (*INDEX_AXES, *EMBEDDING_AXES) if getattr(grid, axis) is not None]
        if not axes:
            raise ValueError(
                f"sweep: has no values to combine; give lists for some of "
                f"{', '.join((*INDEX_AXES, *EMBEDDING_AXES))}"
            )
        foreign = [axis for axis in axes if axis in INDEX_AXES and axis not in self.index.axes]
        if foreign:
            raise ValueError(
                f"sweep.{foreign[0]}: an index of kind {self.index.kind} has no such setting; "
                f"{self._cure_of(foreign[0])}"
            )
        n_points = math.prod(len(getattr(grid, axis)) for axis in (*axes, "cut"))
        if n_points > _MOST_POINTS:
            raise ValueError(
                f"sweep: {n_points:,} combinations, above {_MOST_POINTS:,}; give fewer values"
            )
        if "cut" in grid.model_fields_set and grid.document_length is None:
            raise ValueError("sweep.cut: there is nothing to cut; give sweep.document_length too")
        faults: dict[str, None] = {}
        try:
            self.combinations()
        except ValidationError as error:
            faults |= {
                str(fault["msg"]).removeprefix("Value error, "): None for fault in error.errors()
            }
        if faults:
            raise ValueError(f"sweep: {'; '.join(faults)}")
        return self


def load_sweeps(
    paths: Sequence[Path], overrides: Sequence[str] = (), *, only: Sequence[str] = ()
) -> list[SweepConfig]:
    """The sweeps of files and folders, one of each data set; as ``load_suite``."""
    members = load_suite(paths, overrides, only=only, model=SweepConfig)
    return [member.config for member in members if isinstance(member.config, SweepConfig)]


def _with(base: EvalConfig, settings: Mapping[str, object]) -> EvalConfig:
    """The evaluation with these settings; a document_length of None keeps its own."""
    values = base.model_dump()
    for axis, value in settings.items():
        if axis in INDEX_AXES:
            values["index"][axis] = value
        elif value is not None:
            values["encoder"][axis] = value
    return EvalConfig.model_validate(values)
