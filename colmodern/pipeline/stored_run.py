"""Run folders, read back: of one evaluation, or of a suite as one."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from colmodern.errors import InputError, StorageError
from colmodern.evaluation.trec import read_qrels, read_run
from colmodern.files import read_json_object, read_text
from colmodern.pipeline.artifacts import read_run_file
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, FIDELITY, is_run
from colmodern.types import Qrels, Run

_CURE = "run the evaluation again"


@dataclass(frozen=True)
class StoredRun:
    """What a run folder holds.

    texts: query_id -> text; empty for a run of a version that did not keep them
    """

    folder: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Any]
    timings: Mapping[str, Mapping[str, Any]]
    run: Run
    qrels: Qrels
    texts: Mapping[str, str]
    fidelity: Mapping[str, Any] | None

    @property
    def dataset(self) -> str:
        """Name of the data set, with the split where that is not "test"."""
        name, split = self.environment["dataset"]["name"], self.config["dataset"]["split"]
        return str(name) if split in (None, "test") else f"{name}:{split}"


@dataclass(frozen=True)
class System:
    """What is compared: the runs of one recipe, one of each data set."""

    name: str
    runs: Mapping[str, StoredRun]  # data set -> run


def read_stored_run(folder: Path) -> StoredRun:
    """Read one run folder.

    Raises InputError when it is no run, StorageError when one of its files is missing or damaged.
    """
    if not is_run(folder):
        raise InputError(
            f"{folder} is not a run folder (it has no {CONFIG} with {ENVIRONMENT}); "
            "give what `colmodern eval` printed"
        )
    config = yaml.safe_load(read_text(folder / CONFIG, StorageError))
    rows = [
        json.loads(line)
        for line in read_text(folder / "per_query.jsonl", StorageError).splitlines()
    ]
    fidelity = folder / FIDELITY
    return StoredRun(
        folder=folder,
        config=config,
        environment=read_run_file(folder, ENVIRONMENT),
        metrics=read_run_file(folder, "metrics.json"),
        timings=read_run_file(folder, "timings.json"),
        run=read_run(folder / "run.trec"),
        qrels=read_qrels(folder / "qrels.trec"),
        texts={row["query_id"]: row["query"] for row in rows if "query" in row},
        fidelity=read_json_object(fidelity, StorageError, cure=_CURE)
        if fidelity.is_file()
        else None,
    )


def read_systems(places: Sequence[str]) -> list[System]:
    """A system of each place: a run folder, a folder of run folders, or a pattern of run folders.

    Raises InputError when a place holds no run or two of one data set.
    """
    systems = []
    for place in places:
        runs: dict[str, StoredRun] = {}
        for folder in _run_folders(place):
            run = read_stored_run(folder)
            if run.dataset in runs:
                raise InputError(
                    f"{place} has two runs of {run.dataset}: {runs[run.dataset].folder} and "
                    f"{folder}; give one of them, or a pattern as 'runs/NAME-*'"
                )
            runs[run.dataset] = run
        systems.append(System(place, runs))
    return [System(name, one.runs) for name, one in zip(_names(places), systems, strict=True)]


def _run_folders(place: str) -> list[Path]:
    folder = Path(place).expanduser()
    if is_run(folder):
        return [folder]
    inside = (
        folder.iterdir() if folder.is_dir() else map(Path, glob.glob(str(Path(place).expanduser())))
    )
    found = sorted(path for path in inside if is_run(path) and not _is_kept_aside(path))
    if not found:
        raise InputError(
            f"{place} holds no run; give a run folder, a folder of run folders, or a pattern of them"
        )
    return found


def _is_kept_aside(path: Path) -> bool:
    """Whether a run was moved from its name by a later one of another config."""
    earlier = re.fullmatch(r"(.+)\.\d+", path.name)
    return earlier is not None and is_run(path.with_name(earlier[1]))


def _names(places: Sequence[str]) -> list[str]:
    """The last part of each place, or the whole where that is not enough to tell them apart."""
    short = [Path(place).expanduser().resolve().name for place in places]
    if len(set(short)) == len(short):
        return short
    if len(set(places)) < len(places):
        raise InputError(f"{max(places, key=places.count)} is given twice; compare it with another")
    return list(places)
