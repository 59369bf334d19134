"""colmodern eval CONFIG ... [KEY=VALUE ...]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from colmodern.config.models import EvalConfig
    from colmodern.config.shipped import Kind
    from colmodern.evaluation.suite_table import SuiteTable

INCOMPLETE = 3  # exit status: the work ended, but not all of it is well


@click.command("eval")
@click.argument("arguments", nargs=-1, required=True, metavar="CONFIG... [KEY=VALUE]...")
@click.option("--only", multiple=True, metavar="PATTERN", help="Sets to run, as 'beir/cqa*'.")
def command(arguments: tuple[str, ...], only: tuple[str, ...]) -> int:
    """Run the evaluations that CONFIG defines and write their run folders.

    CONFIG is a file, a folder of files, or a recipe's name, as demo or nanobeir (`colmodern recipes`
    lists them). KEY=VALUE replaces a setting of all, as search.k=50.
    Finished stages of earlier runs are reused. The last line printed is the run folder; of many
    evaluations the file with what each came to, after a table of them: sets that fail do not
    stop the others, and make the exit status 3.
    """
    from colmodern.config.load import load_eval_config
    from colmodern.config.suite import is_suite

    paths, overrides = paths_and_overrides(arguments, "eval")
    if only or is_suite(paths):
        return _run_suite(paths, overrides, only)
    _run_one(load_eval_config(paths[0], overrides))
    return 0


def paths_and_overrides(arguments: tuple[str, ...], kind: Kind) -> tuple[list[Path], list[str]]:
    """Configs, of paths or of recipes' names, and KEY=VALUE settings.

    Raises UsageError where there is no config, ConfigError where there is none of that name.
    """
    from colmodern.config.shipped import find_config

    paths = [Path(one) for one in arguments if "=" not in one or Path(one).exists()]
    overrides = [one for one in arguments if Path(one) not in paths]
    if not paths:
        raise click.UsageError("give a config: a file, a folder or a recipe")
    return [find_config(path, kind) for path in paths], overrides


def _run_one(settings: EvalConfig) -> None:
    from rich.console import Console

    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import figures
    from colmodern.pipeline.evaluate import run_eval
    from colmodern.pipeline.write_report import headline

    with TerminalProgress() as progress:
        result = run_eval(settings, progress=progress)
    Console().print(
        figures(f"{settings.name} on {Path(settings.dataset.name).name}", headline(result))
    )
    click.echo(result.folder)


def _run_suite(paths: list[Path], overrides: list[str], only: tuple[str, ...]) -> int:
    from rich.console import Console

    from colmodern.cli.progress import TerminalProgress
    from colmodern.config.suite import load_suite
    from colmodern.evaluation.suite_table import tabulate
    from colmodern.pipeline.suite import cells, run_suite, write_outcomes

    members = load_suite(paths, overrides, only=only)
    with TerminalProgress() as progress:
        outcomes = run_suite(members, progress=progress)
    Console().print(_table(tabulate(cells(outcomes))))
    first = paths[0].resolve()
    name = "suite" if len(paths) > 1 else first.name if first.is_dir() else first.stem
    results = Path(members[0].config.output) / f"{name}.suite.json"
    write_outcomes(results, outcomes)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        click.echo(
            f"failed: {outcome.member.column} on {outcome.member.row}: {outcome.error}", err=True
        )
    if failed:
        click.echo(
            f"{len(failed)} of {len(outcomes)} evaluations failed; the same command runs them again "
            "and keeps the others",
            err=True,
        )
    click.echo(results)
    return INCOMPLETE if failed else 0


def _table(suite: SuiteTable) -> Table:
    from rich.table import Column, Table
    from rich.text import Text

    measures = {line.measure for line in suite.lines}
    headers = [Column(Text(column), justify="right") for column in suite.columns]
    table = Table(Column(measures.pop() if len(measures) == 1 else "data set"), *headers)
    several = len({line.measure for line in suite.lines}) > 1
    for line in suite.lines:
        label = line.label + (f" (mean of {line.n_parts})" if line.n_parts else "")
        label += f" {line.measure}" if several else ""
        table.add_row(Text(label), *map(_value, line.values))
    if len(suite.lines) > 1:
        table.add_section()
        table.add_row(f"average of {len(suite.lines)}", *map(_value, suite.average), style="bold")
    return table


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
