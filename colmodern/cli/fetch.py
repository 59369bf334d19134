"""colmodern fetch [NAME ...]."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH

if TYPE_CHECKING:
    from colmodern.datasets.registry import NamedSet
    from colmodern.evaluation.tables import Table


@click.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--split", help="Judgments; default: those that results are reported on.")
@click.option(
    "--from",
    "source",
    type=PATH,
    help="A copy of the hub repository, or a folder of such copies as OWNER/NAME.",
)
@click.option("--again", is_flag=True, help="Replace what was fetched before.")
def command(names: tuple[str, ...], split: str | None, source: Path | None, again: bool) -> None:
    """Fetch the data sets NAME, to be used offline from then on.

    NAME is a set ("beir/scifact", "mldr/en") or a whole suite ("beir", "nanobeir", "mldr",
    "longembed"). Without one, the sets that there are. One that fails does not stop the others.
    """
    from huggingface_hub.utils.logging import set_verbosity

    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.datasets.fetch import fetch
    from colmodern.datasets.registry import named_sets, sets_under
    from colmodern.errors import DataError

    if not names:
        show(_overview(list(named_sets().values())), prose=(1, 2, 3, 4))
        return
    if source is not None and not os.path.isdir(source):
        raise click.UsageError(f"--from={source}: there is no such folder; mend the path")
    # the hub tells of every attempt; the error at the end says it once
    set_verbosity(logging.ERROR)
    wanted = [found for name in names for found in sets_under(name)]
    failed = []
    for found in wanted:
        with TerminalProgress() as progress:
            try:
                folder = fetch(
                    found,
                    split=split,
                    source=_copy_of(found, source),
                    again=again,
                    progress=progress,
                )
            except DataError as error:
                if len(wanted) == 1 or isinstance(error.__cause__, ConnectionError):
                    raise  # without a connection none of the others comes either
                failed.append(found.name)
                progress.note(f"error: {error}")
                continue
        terminal.put(folder)
    if failed:
        raise DataError(f"{len(failed)} of {len(wanted)} sets were not fetched: {' '.join(failed)}")


def _copy_of(found: NamedSet, source: Path | None) -> Path | None:
    """The set's repository in a folder of repositories, where it is one."""
    inside = None if source is None else source / found.repo
    return inside if inside is not None and inside.is_dir() else source


def _overview(sets: list[NamedSet]) -> Table:
    from colmodern.cli.tables import table
    from colmodern.datasets.fetch import set_folder

    rows = []
    for one in sets:
        there = [split for split in one.splits if set_folder(one, split).is_dir()]
        splits, licence = ", ".join(one.splits), one.license or "see there"
        rows.append([one.name, splits, one.repo, licence, ", ".join(there)])
    header = ["data set", "splits", "repository", "licence", "fetched"]
    return table("", header, rows, words=(0, 1, 2, 3, 4))
