"""Published scores beside those that the same recipe gives here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from colmodern.checks import shown
from colmodern.config.expected import PublishedScores, load_expected
from colmodern.config.load import build
from colmodern.config.models import EvalConfig
from colmodern.config.shipped import EXPECTED, recipes_folder
from colmodern.config.suite import Member, load_suite
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.suite import set_of, tabulate
from colmodern.nested import flatten
from colmodern.pipeline.evaluate.suite import Outcome, cells, run_suite
from colmodern.pipeline.open.data import fetch_commands
from colmodern.pipeline.run_folder import CONFIG
from colmodern.pipeline.stored_files import read_run_config
from colmodern.progress import Progress

# settings that say where results are put and what they run on are not part of a recipe
_NOT_RECIPE = {
    "name", "output", "dataset.name", "encoder.device", "encoder.trust_remote_code", "index.device",
    "index.device_max_memory",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A published score and the evaluations that should reach it."""

    key: str  # key of the published score
    sources: tuple[PublishedScores, ...]  # those that have the score
    members: tuple[Member, ...]
    committed: tuple[Member, ...]  # the same before overrides


class Difference(NamedTuple):
    """A setting that is not as published, or not as in the committed config."""

    setting: str
    theirs: object
    here: object
    datasets: tuple[str, ...]  # those where it differs


@dataclass(frozen=True)
class Verdict:
    """One source's score of a target beside the one obtained here."""

    published: PublishedScores
    key: str
    measure: str
    expected: float
    obtained: float | None  # None: an evaluation failed
    differences: tuple[Difference, ...]

    @property
    def difference(self) -> float | None:
        """Difference of the obtained and the expected score."""
        return None if self.obtained is None else self.obtained - self.expected

    @property
    def is_within(self) -> bool:
        """Whether the difference is within the tolerance; False where nothing was obtained."""
        return self.difference is not None and abs(self.difference) <= self.published.tolerance


def config_folder(folder: Path | None) -> Path:
    """The folder of suites: ``folder``, configs/eval here, or the built-in recipes.

    A configs/eval without published scores is somebody else's, and left alone.

    Raises ConfigError when there is none.
    """
    shipped, here = recipes_folder() / "eval", Path("configs/eval")
    if folder is None:
        return here if any(here.glob(f"*/*{EXPECTED}")) else shipped
    if not folder.is_dir():
        raise ConfigError(
            f"no folder {folder} with suites; give another, or leave --configs out for the built-in "
            "recipes"
        )
    return folder


def find_target(name: str, configs: Path, overrides: Sequence[str] = ()) -> Target:
    """The published score that "MODEL/SET" names, as "modernbert-base/scifact".

    MODEL is the name of a config in a folder of ``configs``; SET is the key of a score or its last
    part. Raises ConfigError when there is no such score, or when it may be one of several.
    """
    model, _, wanted = name.partition("/")
    scores = sorted(configs.glob(f"*/*{EXPECTED}"))
    files = [file for file in scores if file.name == f"{model}{EXPECTED}"]
    if not files:
        known = sorted({file.name.removesuffix(EXPECTED) for file in scores})
        close = difflib.get_close_matches(model, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"no published scores of {shown(model)} in {configs}; {hint}there are {', '.join(known)}"
        )
    by_key: dict[str, tuple[Path, list[PublishedScores]]] = {}
    for file in files:
        for source in load_expected(file):
            for key in source.scores:
                by_key.setdefault(key, (file, []))[1].append(source)
    keys = [key for key in by_key if key == wanted] or [
        key for key in by_key if wanted and key.endswith(f"/{wanted}")
    ]
    if len(keys) != 1:
        fault = f"{wanted!r} may be {' or '.join(keys)}" if keys else f"no score of {wanted!r}"
        raise ConfigError(f"{name}: {fault}; {model} has scores of {', '.join(by_key)}")
    key = keys[0]
    file, sources = by_key[key]
    suite = [file.with_name(f"{model}.yaml")]
    members, committed = (
        tuple(m for m in load_suite(suite, changes) if m.row == key or m.row.startswith(f"{key}/"))
        for changes in (overrides, ())
    )
    if not members:
        raise ConfigError(f"{suite[0]} has no set {key}, of which {file} has a score; add it")
    return Target(key, tuple(sources), members, committed)


def reproduce(target: Target, *, progress: Progress) -> tuple[list[Verdict], list[Outcome]]:
    """Run a target's evaluations, or read those that are finished, and judge each source.

    Raises DataError with the commands that fetch what is missing, before anything is run.
    """
    if missing := fetch_commands([member.config.dataset for member in target.members]):
        raise DataError(
            f"{target.key} needs data sets that are not on this machine; fetch them once, then run "
            f"this again: {' && '.join(missing)}"
        )
    outcomes = run_suite(target.members, progress=progress)
    obtained = _score(target.key, outcomes)
    verdicts = [
        Verdict(
            source,
            target.key,
            outcomes[0].measure,
            source.scores[target.key],
            obtained,
            _differences(source, target, outcomes),
        )
        for source in target.sources
    ]
    return verdicts, outcomes


def _score(key: str, outcomes: Sequence[Outcome]) -> float | None:
    """The value of a set, or the average of a suite as its table has it."""
    table = tabulate(cells(outcomes))
    is_set = len(table.lines) == 1 and set_of(outcomes[0].member.row) in (key, table.lines[0].label)
    return table.lines[0].values[0] if is_set else table.average[0]


def _differences(
    source: PublishedScores, target: Target, outcomes: Sequence[Outcome]
) -> tuple[Difference, ...]:
    """Settings that differ from what the source states; then those changed by overrides."""
    differences: dict[tuple[str, str, str], tuple[object, object, list[str]]] = {}
    for outcome, committed in zip(outcomes, target.committed, strict=True):
        row = outcome.member.row
        here = _settings_of(outcome)
        theirs = {**_changed(outcome.member, committed), **source.recipe_of(row)}
        for setting, value in theirs.items():
            mine = here.get(setting)
            if mine != value:
                key = (setting, repr(value), repr(mine))
                differences.setdefault(key, (value, mine, []))[2].append(row)
    return tuple(
        Difference(setting, theirs, mine, tuple(datasets))
        for (setting, _, _), (theirs, mine, datasets) in differences.items()
    )


def _settings_of(outcome: Outcome) -> dict[str, object]:
    """The settings of a run as resolved; of one that failed, as configured."""
    if outcome.measures is None:
        return flatten(outcome.member.config.model_dump(mode="json"))
    return flatten(_config_of(outcome.folder).model_dump(mode="json"))


def _config_of(folder: Path) -> EvalConfig:
    return build(EvalConfig, read_run_config(folder), source=str(folder / CONFIG))


def _changed(member: Member, committed: Member) -> dict[str, object]:
    """The committed values of what the overrides changed."""
    before, after = (flatten(m.config.model_dump(mode="json")) for m in (committed, member))
    return {
        setting: value
        for setting, value in before.items()
        if setting not in _NOT_RECIPE and after.get(setting) != value
    }
