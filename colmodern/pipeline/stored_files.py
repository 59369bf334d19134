"""The files of a run folder: what each must hold, read with the file and the field of a fault."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError

from colmodern.checks import id_fault, shown
from colmodern.config.read import read_values
from colmodern.errors import ColmodernError, StorageError
from colmodern.files import read_json_object
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, FIDELITY, TRAIN_RESULT

METRICS, TIMINGS, PER_QUERY = "metrics.json", "timings.json", "per_query.jsonl"
CURE = "run the evaluation again"
_MAX_DEPTH = 50


def _is_id(value: str) -> str:
    if fault := id_fault(value):
        raise ValueError(f"{shown(value)} {fault}")
    return value


def _is_path(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError(f"{shown(value)} is not a path")
    return value


# indexes of the searches that another one begins with: a path, None, or the list of a nested search
FirstStagePaths = str | None | list["FirstStagePaths"]
Id = Annotated[StrictStr, AfterValidator(_is_id)]
PathText = Annotated[StrictStr, AfterValidator(_is_path)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]


class _File(BaseModel):
    """Fields that are read; others, of this or another version, may stand beside them."""

    model_config = ConfigDict(extra="allow")


class _DatasetSetting(_File):
    split: StrictStr | None = None


class _SearchSetting(_File):
    k: Annotated[int, Field(strict=True, ge=1)]


class _IndexSetting(_File):
    precision: StrictStr = "float32"


class ConfigFile(_File):
    """Fields of config.yaml."""

    dataset: _DatasetSetting
    search: _SearchSetting
    index: _IndexSetting = _IndexSetting()


class _DatasetFacts(_File):
    name: StrictStr
    source: PathText | None = None
    description: StrictStr


class _ModelFacts(_File):
    model: StrictStr | None  # none where words and TREC runs were all that was searched


class EnvironmentFile(_File):
    """Fields of environment.json."""

    dataset: _DatasetFacts
    model: _ModelFacts
    embeddings: dict[str, PathText]
    index: PathText | None = None
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    inputs: dict[str, StrictStr] | None = None


class _IndexBytes(_File):
    total: Count


class _IndexFacts(_File):
    bytes: _IndexBytes


class MetricsFile(_File):
    """Fields of metrics.json."""

    measures: dict[str, Number] = Field(min_length=1)
    bytes: Count
    index: _IndexFacts | None = None
    peak_memory_mb: Count | None = None


class _Timing(_File):
    seconds: Annotated[Number, Field(ge=0)]


class _Estimate(_File):
    mean: Number
    low: Number
    high: Number


class FidelityFile(_File):
    """Fields of fidelity.json."""

    estimates: dict[str, _Estimate]


class QueryRow(_File):
    """A line of per_query.jsonl; runs of earlier versions have no texts."""

    query_id: Id
    query: StrictStr | None = None


class _TimingsFile(_File):
    __pydantic_extra__: dict[str, _Timing]


_MODELS: Mapping[str, type[BaseModel]] = {
    ENVIRONMENT: EnvironmentFile,
    METRICS: MetricsFile,
    TIMINGS: _TimingsFile,
    FIDELITY: FidelityFile,
    TRAIN_RESULT: _File,
}


def read_run_file(run_folder: Path, name: str) -> dict[str, Any]:
    """One of a run's JSON files, as written.

    Raises:
        StorageError: The file is missing or damaged; names the file and the field.
    """
    path = run_folder / name
    values = read_json_object(path, StorageError, cure=CURE)
    check(_MODELS.get(name, _File), values, str(path))
    return values


def read_run_config(run_folder: Path) -> dict[str, Any]:
    """A run's config as it was resolved, of whatever version of colmodern, by today's names.

    Raises:
        StorageError: It is missing or damaged; names the field.
    """
    path = run_folder / CONFIG
    try:
        values = read_values(path, is_stored=True)
    except ColmodernError as error:
        raise StorageError(f"{error}; {CURE}") from error
    check(ConfigFile, values, str(path))
    return values


def check(model: type[BaseModel], values: Mapping[str, Any], location: str) -> None:
    """Raise StorageError for the first field that is not as the model has it.

    Args:
        model: Model of the file.
        values: read from the file.
        location: the file, and the line where it has several.
    """
    if _is_deep(values):
        raise StorageError(f"{location} is nested more than {_MAX_DEPTH} levels deep; {CURE}")
    try:
        model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(key) for key in fault["loc"])
        field = field if field.isprintable() and len(field) <= 100 else shown(field)
        reason = re.sub(r" or instance of \w+", "", str(fault["msg"]).removeprefix("Value error, "))
        value = "" if fault["type"] == "missing" else f" (it is {shown(fault['input'])})"
        raise StorageError(f"{location}: {field}: {reason}{value}; {CURE}") from error


def _is_deep(values: Any) -> bool:
    level = [values]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, Mapping | list)
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]
        if not level:
            return False
    return True
