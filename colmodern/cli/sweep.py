"""colmodern sweep CONFIG ... [KEY=VALUE ...]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.eval import INCOMPLETE, paths_and_overrides
from colmodern.cli.options import json_option

if TYPE_CHECKING:
    from colmodern.evaluation.sweep import Sweep

_MOST_ROWS = 24  # rows of a table that a terminal shows at once


@click.command("sweep")
@click.argument("arguments", nargs=-1, required=True, metavar="CONFIG... [KEY=VALUE]...")
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Sets to run, for example 'beir/cqa*'."
)
@json_option
def command(arguments: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> int:
    """Measure every combination of settings that CONFIG lists under sweep.

    CONFIG is a file, a folder of files, or a recipe's name, for example plaid (`colmodern recipes`
    lists them). Axes: nbits, nprobe, n_candidates and rescore of plaid, depth of rerank and hybrid,
    k1 and b of bm25, pool_factor, document_length. KEY=VALUE replaces a setting, for example
    sweep.nbits='[1, 2]' or search.k=50. Each encoding, index and search is made once; an interrupted
    sweep resumes where it stopped. The last line printed is the folder with the table (CSV, JSON),
    the page and the pictures (they need the extra plot).
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.config.sweep import load_sweeps
    from colmodern.errors import ColmodernError
    from colmodern.pipeline.open.artifacts import read_run_file
    from colmodern.pipeline.open.encoder import LoadedEncoders
    from colmodern.pipeline.sweep.sweep import check_sweeps, run_sweep

    paths, overrides = paths_and_overrides(arguments, "sweep")
    sweeps, encoders = load_sweeps(paths, overrides, only=only), LoadedEncoders()
    check_sweeps(sweeps, encoders)
    failed, results = [], []
    for config in sweeps:
        try:
            with TerminalProgress() as progress:
                sweep, folder = run_sweep(config, encoders=encoders, progress=progress)
        except ColmodernError as error:
            if len(sweeps) == 1:
                raise
            failed.append(f"failed: {config.name}: {error}")
            continue
        if as_json:
            results.append({"sweep": str(folder), **read_run_file(folder, "sweep.json")})
            continue
        _print(sweep)
        terminal.put(folder)
    if as_json:
        terminal.put_json(results)
    for message in failed:
        terminal.say(message)
    return INCOMPLETE if failed else 0


def _print(sweep: Sweep) -> None:
    from colmodern.cli.tables import show
    from colmodern.report.sweep_tables import (
        best_table,
        essentials,
        fixed_settings,
        lengths_table,
        points_table,
    )

    is_short = len(sweep.points) <= _MOST_ROWS
    points = points_table(sweep) if is_short else best_table(sweep)
    tables = essentials(sweep, points), lengths_table(sweep)
    show(*(table for table in tables if table.rows))
    left = "" if is_short else f"All {len(sweep.points)} points are in sweep.csv. "
    summary = f"{sweep.name}, {sweep.description}. {left}{fixed_settings(sweep)}"
    terminal.put(f"# {summary}" if terminal.is_piped() else summary)
