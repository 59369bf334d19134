"""What a sweep leaves: a folder with its table, pictures, page and recipe."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from colmodern.config.load import dump
from colmodern.config.sweep import SweepConfig
from colmodern.errors import MissingExtraError
from colmodern.evaluation import picture
from colmodern.evaluation.sweep import LengthPoint, Sweep, SweepPoint
from colmodern.evaluation.sweep_page import SweepPage, render_sweep
from colmodern.files import write_bytes, write_json, write_text
from colmodern.nested import flatten
from colmodern.pipeline.run_folder import ENVIRONMENT, SWEEP_CONFIG, publishing
from colmodern.progress import Progress

_TITLES = {"latency": "quality and latency", "bytes": "quality and size"}


def write_sweep(
    folder: Path,
    sweep: Sweep,
    config: SweepConfig,
    environment: dict[str, Any],
    progress: Progress,
) -> None:
    """Write sweep.json, sweep.csv, report.html and, with matplotlib, pictures; all or nothing."""
    text = dump(config)
    rows = point_rows(sweep)
    with publishing(folder, text, config=SWEEP_CONFIG) as (staged, kept):
        write_text(staged / SWEEP_CONFIG, text)
        write_json(staged / ENVIRONMENT, environment)
        write_json(staged / "sweep.json", _as_json(sweep, rows))
        write_text(staged / "sweep.csv", as_csv(rows))
        if sweep.lengths:
            write_text(
                staged / "lengths.csv", as_csv([_length_row(point) for point in sweep.lengths])
            )
        pareto, lengths = _draw(staged, sweep, progress)
        recipe = {"config": config.model_dump(mode="json"), "environment": environment}
        page = SweepPage(sweep, recipe, pareto, lengths)
        write_text(staged / "report.html", render_sweep(page))
    if kept is not None:
        progress.note(f"{folder} held the sweep of another config; it is kept as {kept}")


def point_rows(sweep: Sweep) -> list[dict[str, Any]]:
    """A flat row for each point, as the table and the pictures number them."""
    return [
        _point_row(number, point, fronts)
        for number, (point, fronts) in enumerate(zip(sweep.points, sweep.fronts, strict=True), 1)
    ]


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of the same keys as text; what is open (null) is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _point_row(number: int, point: SweepPoint, fronts: tuple[bool, bool]) -> dict[str, Any]:
    row: dict[str, Any] = {"point": number, "kind": "exact" if point.is_exact else "plaid"}
    row |= point.settings
    row["cut_from_stored"] = round(point.cut_share, 4)
    for name, (mean, low, high) in point.measures.items():
        row |= {name: mean, f"{name} low": low, f"{name} high": high}
        row[f"{name} exact"] = point.exact[name]
    row |= point.overlap
    row |= {f"difference {name}": value for name, value in point.difference._asdict().items()}
    median, most = point.latency_ms
    row |= {"latency_ms": round(median, 4), "latency_ms_95": round(most, 4)}
    row |= {"tokens": point.n_tokens, "bytes": point.n_bytes}
    row |= {"bytes_per_token": round(point.bytes_per_token, 3)}
    row |= {"build_seconds": round(point.build_seconds, 3)}
    return row | {"best_for_latency": fronts[0], "best_for_bytes": fronts[1]}


def _length_row(point: LengthPoint) -> dict[str, Any]:
    return flatten(
        {**asdict(point), "value": point.value._asdict(), "difference": point.difference._asdict()}
    )


def _as_json(sweep: Sweep, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "dataset": sweep.description,
        "measure": sweep.measure,
        "reference": {"what": sweep.reference, **sweep.reference_value._asdict()},
        "points": rows,
        "lengths": [_length_row(point) for point in sweep.lengths],
    }


def _draw(folder: Path, sweep: Sweep, progress: Progress) -> tuple[dict[str, str], str]:
    """Write the pictures and give them as svg: those of costs by title, then that of lengths.

    A sweep by exact search has one cost only, and no picture of it.
    """
    drawn = {}
    try:
        if any(not point.is_exact for point in sweep.points):
            for cost, title in _TITLES.items():
                figure = picture.pareto_picture(sweep, cost)  # type: ignore[arg-type]
                write_bytes(folder / f"pareto-{cost}.png", picture.as_png(figure))
                drawn[title] = picture.as_svg(figure)
        if not sweep.lengths:
            return drawn, ""
        figure = picture.length_picture(sweep)
        write_bytes(folder / "lengths.png", picture.as_png(figure))
        return drawn, picture.as_svg(figure)
    except MissingExtraError as error:
        progress.note(f"no pictures: {error}, then run the same command again: nothing is lost")
        return {}, ""
