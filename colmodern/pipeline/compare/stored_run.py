"""Run folders, read back: of one evaluation, or of a suite as one."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.checks import shown, text_fault
from colmodern.errors import DataError, InputError, StorageError
from colmodern.evaluation.trec import read_qrels, read_run
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, FIDELITY, is_run
from colmodern.pipeline.stored_files import (
    CURE,
    METRICS,
    PER_QUERY,
    TIMINGS,
    QueryRow,
    check,
    read_run_config,
    read_run_file,
)
from colmodern.reading import read_lines, user_path
from colmodern.types import Qrels, Run


@dataclass(frozen=True)
class StoredRun:
    """What a run folder holds.

    Attributes:
        texts: query_id -> text; empty for a run of a version that did not keep them.
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
        name, split = self.environment["dataset"]["name"], self.config["dataset"].get("split")
        return str(name) if split in (None, "test") else f"{name}:{split}"


@dataclass(frozen=True)
class System:
    """What is compared: the runs of one recipe, one of each data set."""

    name: str
    runs: Mapping[str, StoredRun]  # data set -> run


def read_stored_run(folder: Path) -> StoredRun:
    """Read one run folder.

    Raises InputError when it is not a run, StorageError when one of its files is missing or damaged.
    """
    if not is_run(folder):
        raise InputError(
            f"{folder} is not a run folder (it has no {CONFIG} with {ENVIRONMENT}); "
            "give what `colmodern eval` printed"
        )
    config = read_run_config(folder)
    environment, metrics, timings = (
        read_run_file(folder, name) for name in (ENVIRONMENT, METRICS, TIMINGS)
    )
    try:
        run = read_run(folder / "run.trec", may_be_empty=True)
        qrels = read_qrels(folder / "qrels.trec")
    except DataError as error:
        raise StorageError(f"{error}; {CURE}") from error
    has_fidelity = os.path.lexists(folder / FIDELITY)
    return StoredRun(
        folder=folder,
        config=config,
        environment=environment,
        metrics=metrics,
        timings=timings,
        run=run,
        qrels=qrels,
        texts=_texts(folder / PER_QUERY, qrels),
        fidelity=read_run_file(folder, FIDELITY) if has_fidelity else None,
    )


def _texts(path: Path, qrels: Qrels) -> dict[str, str]:
    """Query texts by id; none, or those of all judged queries."""
    texts: dict[str, str] = {}
    for number, line in read_lines(path, StorageError):
        location = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{location}: not JSON ({error}); {CURE}") from error
        if not isinstance(row, dict):
            raise StorageError(f"{location}: not a JSON object; {CURE}")
        check(QueryRow, row, location)
        if row.get("query") is None:
            continue
        if fault := text_fault(row["query"]):
            raise StorageError(f"{location}: query: {fault}; {CURE}")
        texts[row["query_id"]] = row["query"]
    if texts and (lacking := [query_id for query_id in qrels if query_id not in texts]):
        raise StorageError(
            f"{path} has no text of query {shown(lacking[0])}, which qrels.trec judges; {CURE}"
        )
    return texts


def read_systems(paths: Sequence[str]) -> list[System]:
    """A system of each path: a run folder, a folder of run folders, or a pattern of run folders.

    Raises InputError when a path holds no run or two of one data set.
    """
    systems = []
    for path in paths:
        runs: dict[str, StoredRun] = {}
        for folder in _run_folders(path):
            run = read_stored_run(folder)
            if run.dataset in runs:
                raise InputError(
                    f"{path} has two runs of {run.dataset}: {runs[run.dataset].folder} and "
                    f"{folder}; give one of them, or a pattern as 'runs/NAME-*'"
                )
            runs[run.dataset] = run
        systems.append(System(path, runs))
    return [System(name, system.runs) for name, system in zip(_names(paths), systems, strict=True)]


def _run_folders(path_or_pattern: str) -> list[Path]:
    folder = user_path(path_or_pattern, InputError)
    if os.path.isdir(folder):
        if is_run(folder):
            return [folder]
        try:
            inside = list(folder.iterdir())
        except OSError as error:
            raise InputError(f"cannot read {folder}: {error.strerror}") from error
    else:
        inside = [Path(path) for path in glob.glob(str(folder)) if os.path.isdir(path)]
    runs = sorted(path for path in inside if is_run(path) and not _is_kept_aside(path))
    if not runs:
        raise InputError(
            f"{path_or_pattern} holds no run; give a run folder, a folder of run folders, or a pattern "
            "of them"
        )
    return runs


def _is_kept_aside(path: Path) -> bool:
    """Whether a run was moved from its name by a later one of another config."""
    earlier = re.fullmatch(r"(.+)\.\d+", path.name)
    return earlier is not None and is_run(path.with_name(earlier[1]))


def _names(paths: Sequence[str]) -> list[str]:
    """The last name of each path, or the whole where that is not enough to tell them apart."""
    short = [os.path.basename(os.path.realpath(user_path(path, InputError))) for path in paths]
    if len(set(short)) == len(short):
        return short
    if len(set(paths)) < len(paths):
        raise InputError(f"{max(paths, key=paths.count)} is given twice; compare it with another")
    return list(paths)
