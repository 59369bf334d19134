"""Many evaluations one after another: each survives the failure of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from colmodern.config.load import dump
from colmodern.config.read import is_same_config
from colmodern.config.suite import Member
from colmodern.errors import CheckpointError, ColmodernError, StorageError
from colmodern.evaluation.suite import SuiteScore
from colmodern.files import write_json
from colmodern.pipeline.evaluate.run import prepare, run_prepared
from colmodern.pipeline.machine_faults import explain_fault, is_disk_full, is_of_environment
from colmodern.pipeline.open.data import fetch_commands
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import EvalJob
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, is_run
from colmodern.pipeline.stored_files import METRICS, read_run_file
from colmodern.progress import Progress, as_progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What one evaluation of a suite came to."""

    member: Member
    folder: Path
    measures: dict[str, float] | None = None  # None: it failed
    error: str | None = None
    reused: bool = False  # finished by an earlier call, with the same config, data and model

    @property
    def measure(self) -> str:
        """The first of the config's measures, which stands for the evaluation."""
        return self.member.config.measures[0]


def run_suite(
    members: Sequence[Member], *, progress: Progress | bool | None = None
) -> list[Outcome]:
    """Evaluate one after another; what an earlier call finished is not done again.

    A model is loaded once for the members in a row that use it. A member that fails is noted,
    and the next one begins; only an interruption ends the whole.
    """
    progress = as_progress(progress)
    encoders = LoadedEncoders()
    waiting = [member for member in members if fetch_commands([member.config.dataset])]
    if waiting:
        commands = " && ".join(fetch_commands([member.config.dataset for member in waiting]))
        progress.note(
            f"data sets of {len(waiting)} of {len(members)} evaluations are not on this machine; "
            f"fetch them first: {commands}"
        )
    outcomes: list[Outcome] = []
    reasons = _KnownFailures()
    for number, member in enumerate(members, start=1):
        progress.note(f"{number} of {len(members)}: {member.column} on {member.row}")
        outcomes.append(_run_member(member, encoders, progress, reasons))
    return outcomes


class _KnownFailures:
    """Why evaluations of a suite cannot succeed, so that none is tried again for the same reason."""

    def __init__(self) -> None:
        self._everything: str | None = None
        self._models: dict[str, str] = {}

    def of(self, member: Member) -> str | None:
        """The reason that is known before a member is begun."""
        return self._everything or self._models.get(_model_of(member))

    def add(self, member: Member, error: Exception, message: str) -> bool:
        """Keep the reason where it holds for others too; whether it does."""
        if is_disk_full(error):
            self._everything = message
        elif isinstance(error, CheckpointError):
            self._models[_model_of(member)] = message
        return is_of_environment(error) or self.of(member) is not None


def _model_of(member: Member) -> str:
    """What decides which checkpoint is loaded, and how."""
    config = member.config.encoder
    return config.model_copy(update=dict.fromkeys(config.settings())).model_dump_json()


def cells(outcomes: Sequence[Outcome]) -> list[SuiteScore]:
    """What a suite's table shows of its outcomes."""
    return [
        SuiteScore(
            outcome.member.row,
            outcome.member.column,
            outcome.measure,
            None if outcome.measures is None else next(iter(outcome.measures.values())),
        )
        for outcome in outcomes
    ]


def describe_failures(outcomes: Sequence[Outcome]) -> list[str]:
    """One message for each fault, with the evaluations that it stopped.

    Data sets that are not on this machine are one fault, whatever their number; ``run_suite`` has
    said at the beginning how to fetch them.
    """
    stopped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            is_missing = fetch_commands([outcome.member.config.dataset])
            reason = "no data sets, as said at the beginning" if is_missing else outcome.error
            stopped.setdefault(reason, []).append(outcome)
    return [f"{_names(outcomes_of)}: {error}" for error, outcomes_of in stopped.items()]


def _names(outcomes: Sequence[Outcome]) -> str:
    first = f"{outcomes[0].member.column} on {outcomes[0].member.row}"
    if len(outcomes) == 1:
        return first
    return f"{len(outcomes)} evaluations, {first} the first"


def outcomes_as_json(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """What every evaluation came to, as plain values."""
    return [
        {
            "row": outcome.member.row,
            "column": outcome.member.column,
            "run": str(outcome.folder),
            "measures": outcome.measures,
            "error": outcome.error,
        }
        for outcome in outcomes
    ]


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write what every evaluation came to as JSON, all or nothing."""
    write_json(path, outcomes_as_json(outcomes))


def _run_member(
    member: Member, encoders: LoadedEncoders, progress: Progress, reasons: _KnownFailures
) -> Outcome:
    folder = Path(member.config.output) / member.config.name
    if commands := fetch_commands([member.config.dataset]):
        missing = f"{member.config.dataset.name} is not on this machine; fetch it: {commands[0]}"
        return Outcome(member, folder, error=missing)
    if reason := reasons.of(member):
        return Outcome(member, folder, error=reason)
    try:
        prepared = prepare(member.config, encoders, progress=progress)
        earlier = _finished(prepared)
        if earlier is not None:
            progress.note(f"finished by an earlier run: {folder}")
            return Outcome(member, folder, earlier, reused=True)
        result = run_prepared(prepared, progress=progress)
    except ColmodernError as error:
        if not reasons.add(member, error, str(error)):
            progress.note(f"error: {error}")
        return Outcome(member, folder, error=str(error))
    except Exception as error:  # one set must not cost the night's others, whatever it ran into
        if reason := explain_fault(error):
            reasons.add(member, error, reason)
            return Outcome(member, folder, error=reason)
        logger.exception("%s on %s failed", member.column, member.row)
        return Outcome(member, folder, error=f"{type(error).__name__}: {error}")
    return Outcome(member, folder, result.evaluation.mean)


def _finished(prepared: EvalJob) -> dict[str, float] | None:
    """The measures of an earlier run of the same config, data and model; None where there is none."""
    folder = prepared.folder
    if not is_run(folder):
        return None
    try:
        if not is_same_config(folder / CONFIG, dump(prepared.config)):
            return None
        if read_run_file(folder, ENVIRONMENT).get("inputs") != prepared.inputs():
            return None
        measures: dict[str, float] = read_run_file(folder, METRICS)["measures"]
    except StorageError as error:
        logger.warning("%s is evaluated anew: %s", folder, error)
        return None
    return measures
