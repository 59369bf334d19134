"""The folder of a sweep: its table, pictures, page and recipe."""

from __future__ import annotations

from pathlib import Path

from colmodern.config.load import dump
from colmodern.config.sweep import SweepConfig
from colmodern.evaluation.sweep import Sweep
from colmodern.files import write_json, write_text
from colmodern.pipeline.run_folder import ENVIRONMENT, SWEEP_CONFIG, publishing
from colmodern.progress import Progress
from colmodern.report.sweep_files import (
    as_csv,
    draw_pictures,
    length_row,
    point_rows,
    sweep_as_json,
)
from colmodern.report.sweep_page import SweepPage, render_sweep


def write_sweep(
    folder: Path,
    sweep: Sweep,
    config: SweepConfig,
    environment: dict[str, object],
    progress: Progress,
) -> None:
    """Write sweep.json, sweep.csv, report.html and, with matplotlib, pictures; all or nothing."""
    text = dump(config)
    rows = point_rows(sweep, config.index.kind)
    with publishing(folder, text, config=SWEEP_CONFIG) as (staged, kept):
        write_text(staged / SWEEP_CONFIG, text)
        write_json(staged / ENVIRONMENT, environment)
        write_json(staged / "sweep.json", sweep_as_json(sweep, rows))
        write_text(staged / "sweep.csv", as_csv(rows))
        if sweep.lengths:
            write_text(
                staged / "lengths.csv", as_csv([length_row(point) for point in sweep.lengths])
            )
        pareto, lengths = draw_pictures(staged, sweep, progress)
        recipe = {"config": config.model_dump(mode="json"), "environment": environment}
        page = SweepPage(sweep, recipe, pareto, lengths)
        write_text(staged / "report.html", render_sweep(page))
    if kept is not None:
        progress.note(f"{folder} held the sweep of another config; it is kept as {kept}")
