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
    from colmodern.report.tables import Table


@click.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--split", help="Split of judgments; default: the one that results are reported on.")
@click.option(
    "--from",
    "source",
    type=PATH,
    help="A copy of the hub repository, or a folder of such copies as OWNER/NAME.",
)
@click.option("--registry", type=PATH, help="File that names data sets of one's own.")
@click.option("--again", is_flag=True, help="Fetch again, and replace what is there.")
def command(
    names: tuple[str, ...],
    split: str | None,
    source: Path | None,
    registry: Path | None,
    again: bool,
) -> None:
    """Fetch the data sets NAME, to be used offline from then on.

    NAME is a set ("beir/scifact", "mldr/en"), a whole suite ("beir", "nanobeir", "bright") or an id of
    ir_datasets ("irds:vaswani", extra ir-datasets). Without NAME, list all sets. A set that fails
    does not stop the others.
    """
    from huggingface_hub.utils.logging import set_verbosity

    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.datasets.fetch import fetch
    from colmodern.datasets.names import sets_under
    from colmodern.datasets.own_sets import own_sets
    from colmodern.datasets.registry import NamedSet, named_sets
    from colmodern.errors import DataError

    if not names:
        mine = [x for x in own_sets(registry).values() if isinstance(x, NamedSet)]
        show(_overview([*named_sets().values(), *mine]), prose=(1, 2, 3, 4))
        return
    if source is not None and not os.path.isdir(source):
        raise click.UsageError(f"--from={source}: there is no such folder; correct the path")
    # the hub logs every attempt; the error at the end says it once
    set_verbosity(logging.ERROR)
    wanted = [dataset for name in names for dataset in sets_under(name, registry)]
    failed = []
    for dataset in wanted:
        with TerminalProgress() as progress:
            try:
                folder = fetch(
                    dataset,
                    split=split,
                    source=_copy_of(dataset, source),
                    again=again,
                    progress=progress,
                )
            except DataError as error:
                if len(wanted) == 1 or isinstance(error.__cause__, ConnectionError):
                    raise  # without a connection the others fail too
                failed.append(dataset.name)
                progress.note(f"error: {error}")
                continue
        terminal.put(folder)
    if failed:
        raise DataError(f"{len(failed)} of {len(wanted)} sets were not fetched: {' '.join(failed)}")


def _copy_of(dataset: NamedSet, source: Path | None) -> Path | None:
    """The set's copy in a folder of repositories; else the folder is itself the copy."""
    inside = None if source is None else source / dataset.repo
    return inside if inside is not None and inside.is_dir() else source


def _overview(sets: list[NamedSet]) -> Table:
    from colmodern.datasets.fetch import set_folder
    from colmodern.report.tables import text_table

    rows = []
    for dataset in sets:
        there = [split for split in dataset.splits if set_folder(dataset, split).is_dir()]
        splits, licence = ", ".join(dataset.splits), dataset.license or "see there"
        rows.append([dataset.name, splits, dataset.repo, licence, ", ".join(there)])
    header = ["data set", "splits", "repository", "licence", "fetched"]
    return text_table("", header, rows, words=(0, 1, 2, 3, 4))
