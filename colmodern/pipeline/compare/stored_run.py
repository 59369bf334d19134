"""Run folders, read back: of one evaluation, or of a suite as one."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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

RUN = "run.trec"


@dataclass(frozen=True)
class StoredRun:
    """What a run folder holds, or a TREC run with its judgments.

    Attributes:
        folder: The folder, or the file of the TREC run.
        config: As are environment, metrics and timings, empty for a TREC run, which has no recipe.
        texts: query_id -> text; empty for a run of a version that did not keep them.
        label: Name of the data set of a TREC run; None for a run folder, whose files say it.
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
    label: str | None = None

    @property
    def is_trec(self) -> bool:
        """Whether it is a TREC run, of which nothing but its results is known."""
        return self.label is not None

    @property
    def dataset(self) -> str:
        """Name of the data set, with the split where that is not "test"."""
        if self.label is not None:
            return self.label
        name, split = self.environment["dataset"]["name"], self.config["dataset"].get("split")
        return str(name) if split in (None, "test") else f"{name}:{split}"


class JudgedQueries(NamedTuple):
    """Judgments that TREC runs are measured against.

    Attributes:
        name: Name of the data set, or of the file of judgments.
        qrels: query_id -> doc_id -> grade.
        texts: query_id -> text; empty where the texts are unknown.
    """

    name: str
    qrels: Qrels
    texts: Mapping[str, str]


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
        run = read_run(folder / RUN, may_be_empty=True)
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


def read_systems(paths: Sequence[str], judged: JudgedQueries | None = None) -> list[System]:
    """A system of each path: a run folder, a folder or a pattern of run folders, or a TREC run.

    Args:
        paths: The paths; a file is a TREC run.
        judged: What TREC runs are measured against; None: the judgments of the run folders.

    Raises:
        DataError: A TREC run is malformed.
        InputError: A path holds no run or two of one data set, or there are no judgments.
        StorageError: A run folder is damaged.
    """
    is_file = {path: os.path.isfile(user_path(path, InputError)) for path in paths}
    stored = {path: _stored_runs(path) for path in paths if not is_file[path]}
    if judged is None and any(is_file.values()):
        judged = _judgments_of(stored)
    systems = []
    for path in paths:
        runs = stored.get(path)
        if runs is None:
            assert judged is not None, "a file has judgments from here on"
            run = read_trec_run(user_path(path, InputError), judged)
            runs = {run.dataset: run}
        systems.append(System(path, runs))
    return [System(name, system.runs) for name, system in zip(_names(paths), systems, strict=True)]


def read_trec_systems(paths: Sequence[str], judged: JudgedQueries) -> list[System]:
    """A system of each TREC run, or of the TREC run in a run folder, with these judgments.

    Raises:
        DataError: A run is malformed.
        InputError: A path is neither.
    """
    return [
        System(name, {judged.name: read_trec_run(trec_file(path), judged)})
        for name, path in zip(_names(paths), paths, strict=True)
    ]


def trec_file(path: str) -> Path:
    """The TREC run that a path means: the file itself, or that of a run folder.

    Raises:
        InputError: It is neither.
    """
    file = user_path(path, InputError)
    if os.path.isdir(file) and is_run(file):
        return file / RUN
    if not os.path.isfile(file):
        raise InputError(f"{path} is neither a file nor a run folder; give a TREC run")
    return file


def read_trec_run(path: Path, judged: JudgedQueries) -> StoredRun:
    """A TREC run, plain or gzipped, with the judgments that it is measured against.

    Raises:
        DataError: The file is malformed.
    """
    return StoredRun(
        folder=path,
        config={},
        environment={},
        metrics={"measures": {}},
        timings={},
        run=read_run(path),
        qrels=judged.qrels,
        texts=judged.texts,
        fidelity=None,
        label=judged.name,
    )


def _judgments_of(stored: Mapping[str, Mapping[str, StoredRun]]) -> JudgedQueries:
    """The judgments of run folders, for the TREC runs beside them."""
    runs = [run for of in stored.values() for run in of.values()]
    if not runs:
        raise InputError("a TREC run has no judgments of its own; give them with --qrels")
    if len({run.dataset for run in runs}) > 1:
        raise InputError(
            "the run folders are of several data sets, and a TREC run does not say of which it is; "
            "compare it with the run of one data set"
        )
    return JudgedQueries(runs[0].dataset, runs[0].qrels, runs[0].texts)


def _stored_runs(path: str) -> dict[str, StoredRun]:
    """Data set -> run, of the run folders at a path."""
    runs: dict[str, StoredRun] = {}
    for folder in _run_folders(path):
        run = read_stored_run(folder)
        if run.dataset in runs:
            raise InputError(
                f"{path} has two runs of {run.dataset}: {runs[run.dataset].folder} and "
                f"{folder}; give one of them, or a pattern as 'runs/NAME-*'"
            )
        runs[run.dataset] = run
    return runs


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
            f"{path_or_pattern} holds no run; give a run folder, a folder of run folders, a pattern "
            "of them, or a TREC run"
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
