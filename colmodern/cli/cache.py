"""colmodern cache, and colmodern cache prune."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from colmodern.pipeline.cache import Entry
    from colmodern.report.tables import Table

_OUTPUT = click.option(
    "--output",
    "-o",
    type=PATH,
    default="runs",
    show_default=True,
    help="Folder of runs.",
)


@click.group("cache", invoke_without_command=True)
@_OUTPUT
@json_option
@click.pass_context
def command(context: click.Context, output: Path, as_json: bool) -> None:
    """List the disk space of finished evaluation stages and of this user's cache.

    `colmodern cache prune` deletes the stages that are no longer needed.
    """
    context.obj = output
    if context.invoked_subcommand is not None:
        return
    from colmodern.cli.tables import show
    from colmodern.files import user_cache
    from colmodern.pipeline.cache import FOLDER, list_entries

    entries, user_sizes = list_entries(output), _user_sizes(user_cache())
    if as_json:
        terminal.put_json(
            {
                "cache": str(output / FOLDER),
                "entries": list(map(_as_json, entries)),
                "user_cache": str(user_cache()),
                "parts": [{"name": name, "bytes": size} for name, size in user_sizes],
            }
        )
        return
    show(_summary(output / FOLDER, entries), _table(entries), _user_table(user_cache(), user_sizes))


@command.command("prune")
@click.option("--output", "-o", type=PATH, help="Folder of runs.")
@click.option(
    "--older-than", metavar="AGE", help="Only entries unused for AGE, for example 30d or 12h."
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="Entries to keep: a name, a kind (documents, queries, index, search) or a run; may repeat.",
)
@click.option(
    "--all",
    "with_runs",
    is_flag=True,
    help="Also delete what searches of finished runs read; evaluating them again makes it again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted.")
@json_option
@click.pass_context
def prune(
    context: click.Context,
    output: Path | None,
    older_than: str | None,
    keep: tuple[str, ...],
    with_runs: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete finished stages that no run of the folder needs, and leftovers of killed evaluations.

    Results, and stages that a running evaluation uses, are never touched. An interrupted evaluation
    whose stages are pruned starts over.
    """
    from colmodern.cli.tables import show
    from colmodern.pipeline import cache

    folder: Path = output or context.obj
    age = 0.0 if older_than is None else cache.parse_age(older_than)
    gone = cache.prune(folder, older_than=age, keep=keep, with_runs=with_runs, dry_run=dry_run)
    if as_json:
        terminal.put_json(list(map(_as_json, gone)))
        return
    if gone:
        show(_table(gone))
    size = sum(entry.n_bytes for entry in gone) / 1e6
    terminal.put(f"{len(gone)} entries, {size:,.1f} MB {'to delete' if dry_run else 'deleted'}")


def _summary(cache: Path, entries: Sequence[Entry]) -> Table:
    from colmodern.report.tables import text_table

    rows = []
    for kind in ("documents", "queries", "index", "search"):
        of_kind = [entry for entry in entries if entry.kind == kind]
        if of_kind:
            free = sum(entry.n_bytes for entry in of_kind if not entry.runs and not entry.is_held)
            rows.append([kind, f"{len(of_kind):,}", _size(of_kind), f"{free / 1e6:,.1f}"])
    rows.append(["all", f"{len(entries):,}", _size(entries), ""])
    return text_table(str(cache), ["use", "entries", "MB", "MB of no run"], rows)


def _table(entries: Sequence[Entry]) -> Table:
    from colmodern.report.tables import text_table

    rows = [
        [
            entry.name,
            _size([entry]),
            f"{(time.time() - entry.used) / 86_400:.1f}",
            "in use" if entry.is_held else ", ".join(entry.runs) or "-",
        ]
        for entry in entries
    ]
    return text_table("", ["entry", "MB", "days since use", "runs"], rows, words=(0, 3))


def _user_sizes(cache: Path) -> list[tuple[str, int]]:
    from colmodern.pipeline.cache import size_of

    sizes = []
    for folder in sorted(cache.iterdir()) if cache.is_dir() else ():
        inside = sorted(folder.iterdir()) if folder.is_dir() and folder.name == "datasets" else []
        sizes += [(f"{folder.name}/{path.name}", size_of(path)) for path in inside] or [
            (folder.name, size_of(folder))
        ]
    return sizes


def _user_table(cache: Path, sizes: Sequence[tuple[str, int]]) -> Table:
    from colmodern.report.tables import text_table

    rows = [[name, f"{size / 1e6:,.1f}"] for name, size in sizes]
    rows.append(["all", f"{sum(size for _, size in sizes) / 1e6:,.1f}"])
    return text_table(str(cache), ["fetched and compiled", "MB"], rows)


def _size(entries: Sequence[Entry]) -> str:
    return f"{sum(entry.n_bytes for entry in entries) / 1e6:,.1f}"


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "bytes": entry.n_bytes,
        "used": entry.used,
        "runs": list(entry.runs),
        "is_held": entry.is_held,
    }
