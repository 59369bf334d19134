"""colmodern reproduce MODEL/SET [KEY=VALUE ...]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli.eval import INCOMPLETE

if TYPE_CHECKING:
    from rich.table import Table

    from colmodern.pipeline.reproduce import Verdict


@click.command("reproduce")
@click.argument("target", metavar="MODEL/SET")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--configs",
    type=click.Path(path_type=Path),
    help="Folder of suites; default: configs/eval here, or the recipes that come along.",
)
def command(target: str, overrides: tuple[str, ...], configs: Path | None) -> int:
    """Compare a published score with the one that its recipe gives here.

    SET is a set ("modernbert-base/scifact"), a set of parts ("modernbert-base/cqadupstack") or a
    suite ("modernbert-base/beir"). Prints expected, obtained and their difference for every source
    that has the score, and what differs between its recipe and this run. The exit status is 3 when
    a score is outside the tolerance.
    """
    from rich.console import Console

    from colmodern.cli.progress import TerminalProgress
    from colmodern.pipeline.reproduce import config_folder, find_target, reproduce

    found = find_target(target, config_folder(configs), overrides)
    with TerminalProgress() as progress:
        verdicts, outcomes = reproduce(found, progress=progress)
    console = Console()
    for verdict in verdicts:
        console.print(_score(verdict), _differences(verdict))
        for fact in verdict.published.not_stated:
            click.echo(f"not stated by the source: {fact}")
        click.echo()
    for outcome in outcomes:
        if outcome.error is not None:
            click.echo(f"failed: {outcome.member.row}: {outcome.error}", err=True)
    for outcome in outcomes:
        click.echo(outcome.folder)
    return 0 if all(verdict.is_within for verdict in verdicts) else INCOMPLETE


def _score(verdict: Verdict) -> Table:
    from rich.table import Column, Table
    from rich.text import Text

    headers = [verdict.measure, "expected", "obtained", "difference", "tolerance", ""]
    columns = [Column(Text(header), justify="right") for header in headers]
    columns[0].justify = "left"
    table = Table(*columns, title=Text(verdict.published.source), title_justify="left")
    obtained, difference = verdict.obtained, verdict.difference
    table.add_row(
        Text(verdict.key),
        f"{verdict.expected:.4f}",
        "-" if obtained is None else f"{obtained:.4f}",
        "-" if difference is None else f"{difference:+.4f}",
        f"{verdict.published.tolerance:.4f}",
        Text("within" if verdict.is_within else "outside"),
    )
    return table


def _differences(verdict: Verdict) -> Table | str:
    from rich.table import Table
    from rich.text import Text

    if not verdict.differences:
        return "no stated setting differs"
    table = Table("setting", "published recipe", "here", "sets")
    for setting, theirs, here, rows in verdict.differences:
        sets = rows[0] if len(rows) == 1 else f"{len(rows)} sets"
        table.add_row(*map(Text, (setting, str(theirs), str(here), sets)))
    return table
