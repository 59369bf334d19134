"""Many evaluations one after another: each survives the failure of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.config.load import dump
from colmodern.config.suite import Member
from colmodern.errors import ColmodernError, StorageError
from colmodern.evaluation.suite_table import Cell
from colmodern.files import read_json_object, read_text, write_json
from colmodern.pipeline.evaluate import Prepared, prepare, run_prepared
from colmodern.pipeline.load_data import fetch_commands
from colmodern.pipeline.load_encoder import LoadedEncoders
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, is_run
from colmodern.progress import Progress, Silent

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


def run_suite(members: Sequence[Member], *, progress: Progress | None = None) -> list[Outcome]:
    """Evaluate one after another; what an earlier call finished is not done again.

    A model is loaded once for the members in a row that use it. A member that fails is noted,
    and the next one begins; only an interruption ends the whole.
    """
    progress = progress or Silent()
    encoders = LoadedEncoders()
    if missing := fetch_commands([member.config.dataset for member in members]):
        progress.note(f"data sets that are not on this machine will fail: {' && '.join(missing)}")
    outcomes = []
    for number, member in enumerate(members, start=1):
        progress.note(f"{number} of {len(members)}: {member.column} on {member.row}")
        outcomes.append(_run_member(member, encoders, progress))
    return outcomes


def cells(outcomes: Sequence[Outcome]) -> list[Cell]:
    """What a suite's table shows of its outcomes."""
    return [
        Cell(
            outcome.member.row,
            outcome.member.column,
            outcome.measure,
            None if outcome.measures is None else next(iter(outcome.measures.values())),
        )
        for outcome in outcomes
    ]


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write what every evaluation came to as JSON, all or nothing."""
    write_json(
        path,
        [
            {
                "row": outcome.member.row,
                "column": outcome.member.column,
                "run": str(outcome.folder),
                "measures": outcome.measures,
                "error": outcome.error,
            }
            for outcome in outcomes
        ],
    )


def _run_member(member: Member, encoders: LoadedEncoders, progress: Progress) -> Outcome:
    folder = Path(member.config.output) / member.config.name
    try:
        prepared = prepare(member.config, encoders, progress=progress)
        earlier = _finished(prepared)
        if earlier is not None:
            progress.note(f"finished by an earlier run: {folder}")
            return Outcome(member, folder, earlier, reused=True)
        result = run_prepared(prepared, progress=progress)
    except ColmodernError as error:
        progress.note(f"error: {error}")
        return Outcome(member, folder, error=str(error))
    except Exception as error:  # one set must not cost the night's others, whatever it ran into
        logger.exception("%s on %s failed", member.column, member.row)
        return Outcome(member, folder, error=f"{type(error).__name__}: {error}")
    return Outcome(member, folder, result.evaluation.mean)


def _finished(prepared: Prepared) -> dict[str, float] | None:
    """The measures of an earlier run of the same config, data and model; None where there is none."""
    folder = prepared.folder
    if not is_run(folder) or read_text(folder / CONFIG, StorageError) != dump(prepared.config):
        return None
    if _read(folder / ENVIRONMENT).get("inputs") != prepared.inputs():
        return None
    measures: dict[str, float] = _read(folder / "metrics.json")["measures"]
    return measures


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path, StorageError, cure="delete the run and evaluate again")
