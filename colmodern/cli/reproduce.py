"""colmodern reproduce MODEL/SET [KEY=VALUE ...]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.eval import INCOMPLETE
from colmodern.cli.options import PATH, json_option

if TYPE_CHECKING:
    from colmodern.pipeline.compare.reproduce import Verdict
    from colmodern.report.tables import Table


@click.command("reproduce")
@click.argument("target", metavar="MODEL/SET")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--configs",
    type=PATH,
    help="Folder of suites; default: configs/eval here, or the built-in recipes.",
)
@json_option
def command(target: str, overrides: tuple[str, ...], configs: Path | None, as_json: bool) -> int:
    """Compare a published score with the one that its recipe gives here.

    SET is a set ("modernbert-base/scifact"), a set of parts ("modernbert-base/cqadupstack") or a
    suite ("modernbert-base/beir"). Prints expected, obtained and their difference for every source
    that has the score, and what differs between its recipe and this run. The exit status is 3 when
    a score is outside the tolerance.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.pipeline.compare.reproduce import config_folder, find_target, reproduce
    from colmodern.pipeline.evaluate.suite import describe_failures

    published = find_target(target, config_folder(configs), overrides)
    with TerminalProgress() as progress:
        verdicts, outcomes = reproduce(published, progress=progress)
    if as_json:
        terminal.put_json(list(map(_as_json, verdicts)))
    for verdict in () if as_json else verdicts:
        show(_score(verdict), *_differences(verdict), prose=())
        remarks = [f"not stated by the source: {fact}" for fact in verdict.published.not_stated]
        for remark in remarks if verdict.differences else ["no stated setting differs", *remarks]:
            terminal.put(f"# {remark}" if terminal.is_piped() else remark)
        terminal.put()
    for message in describe_failures(outcomes):
        terminal.say(f"failed: {message}")
    for outcome in () if as_json else outcomes:
        terminal.put(outcome.folder)
    return 0 if all(verdict.is_within for verdict in verdicts) else INCOMPLETE


def _score(verdict: Verdict) -> Table:
    from colmodern.report.tables import text_table

    header = [verdict.measure, "expected", "obtained", "difference", "tolerance", "verdict"]
    obtained, difference = verdict.obtained, verdict.difference
    row = [
        verdict.key,
        f"{verdict.expected:.4f}",
        "-" if obtained is None else f"{obtained:.4f}",
        "-" if difference is None else f"{difference:+.4f}",
        f"{verdict.published.tolerance:.4f}",
        "within" if verdict.is_within else "outside",
    ]
    return text_table(verdict.published.source, header, [row])


def _differences(verdict: Verdict) -> list[Table]:
    from colmodern.report.tables import text_table

    rows = [
        [setting, str(theirs), str(here), sets[0] if len(sets) == 1 else f"{len(sets)} sets"]
        for setting, theirs, here, sets in verdict.differences
    ]
    header = ["setting", "published recipe", "here", "sets"]
    return [text_table("", header, rows, words=(0, 1, 2, 3))] if rows else []


def _as_json(verdict: Verdict) -> dict[str, object]:
    differences = [
        {"setting": setting, "published": theirs, "here": here, "sets": list(sets)}
        for setting, theirs, here, sets in verdict.differences
    ]
    return {
        "source": verdict.published.source,
        "key": verdict.key,
        "measure": verdict.measure,
        "expected": verdict.expected,
        "obtained": verdict.obtained,
        "difference": verdict.difference,
        "tolerance": verdict.published.tolerance,
        "is_within": verdict.is_within,
        "differences": differences,
        "not_stated": list(verdict.published.not_stated),
    }
