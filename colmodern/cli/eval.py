"""colmodern eval CONFIG ... [KEY=VALUE ...]."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.options import json_option

if TYPE_CHECKING:
    from colmodern.config.models import EvalConfig
    from colmodern.config.shipped import Kind

INCOMPLETE = 3  # exit status: the work ended and some of it failed


@click.command("eval")
@click.argument("arguments", nargs=-1, required=True, metavar="CONFIG... [KEY=VALUE]...")
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Sets to run, for example 'beir/cqa*'."
)
@json_option
def command(arguments: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> int:
    """Run the evaluations that CONFIG defines and write their run folders.

    CONFIG is a file, a folder of files, or a recipe's name, for example demo or nanobeir
    (`colmodern recipes` lists them). KEY=VALUE replaces a setting in all of them, for example
    search.k=50. Finished stages of earlier runs are reused. The last line printed is the run folder.
    Several evaluations end with a table and the path of its file. A set that fails does not stop the
    others; the exit status is then 3.
    """
    from colmodern.config.load import load_eval_config
    from colmodern.config.suite import is_suite

    paths, overrides = paths_and_overrides(arguments, "eval")
    if only or is_suite(paths):
        return _run_suite(paths, overrides, only, as_json=as_json)
    _run_one(load_eval_config(paths[0], overrides), as_json=as_json)
    return 0


def paths_and_overrides(arguments: tuple[str, ...], kind: Kind) -> tuple[list[Path], list[str]]:
    """Split arguments into configs (paths or recipes' names) and KEY=VALUE settings.

    Raises:
        click.UsageError: no config is given.
        ConfigError: there is no config of that name.
    """
    from colmodern.config.shipped import find_config

    paths: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        is_path = "=" not in argument or os.path.exists(argument)  # False for an impossible path
        (paths if is_path else overrides).append(argument)
    if not paths:
        raise click.UsageError("give a config: a file, a folder or a recipe")
    return [find_config(path, kind) for path in paths], overrides


def _run_one(settings: EvalConfig, *, as_json: bool) -> None:
    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.pipeline.evaluate.report import headline
    from colmodern.pipeline.evaluate.run import run_eval
    from colmodern.pipeline.open.artifacts import read_run_file
    from colmodern.report.run_page import figures_table

    with TerminalProgress() as progress:
        result = run_eval(settings, progress=progress)
    if as_json:
        metrics = read_run_file(result.folder, "metrics.json")
        terminal.put_json({"run": str(result.folder), **metrics})
        return
    show(figures_table(f"{settings.name} on {Path(settings.dataset.name).name}", headline(result)))
    terminal.put(result.folder)


def _run_suite(
    paths: list[Path], overrides: list[str], only: tuple[str, ...], *, as_json: bool
) -> int:
    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.config.suite import load_suite
    from colmodern.evaluation.suite import tabulate
    from colmodern.pipeline.evaluate.suite import (
        cells,
        describe_failures,
        outcomes_as_json,
        run_suite,
        write_outcomes,
    )
    from colmodern.report.suite_table import suite_table

    members = load_suite(paths, overrides, only=only)
    with TerminalProgress() as progress:
        outcomes = run_suite(members, progress=progress)
    first = paths[0].resolve()
    name = "suite" if len(paths) > 1 else first.name if first.is_dir() else first.stem
    results = Path(members[0].config.output) / f"{name}.suite.json"
    write_outcomes(results, outcomes)
    if as_json:
        terminal.put_json({"results": str(results), "runs": outcomes_as_json(outcomes)})
    else:
        show(suite_table(tabulate(cells(outcomes))))
    failures = describe_failures(outcomes)
    for message in failures:
        terminal.say(f"failed: {message}")
    n_failed = sum(outcome.error is not None for outcome in outcomes)
    if n_failed:
        terminal.say(
            f"{n_failed} of {len(outcomes)} evaluations failed; the same command runs them again "
            "and keeps the others"
        )
    if not as_json:
        terminal.put(results)
    return INCOMPLETE if n_failed else 0
