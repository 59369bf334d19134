"""The files of a sweep: rows for CSV and JSON, and pictures."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path

from colmodern.errors import MissingExtraError
from colmodern.evaluation.sweep import LengthPoint, Sweep, SweepPoint
from colmodern.files import write_bytes
from colmodern.nested import flatten
from colmodern.progress import Progress
from colmodern.report.sweep_pictures import as_png, as_svg, length_picture, pareto_picture

_TITLES = {"latency": "quality and latency", "bytes": "quality and size"}


def point_rows(sweep: Sweep, kind: str) -> list[dict[str, object]]:
    """A flat row for each point, numbered as in the table and the pictures; kind: of the index."""
    return [
        {"point": number, "kind": kind, **_point_row(point, fronts)}
        for number, (point, fronts) in enumerate(zip(sweep.points, sweep.fronts, strict=True), 1)
    ]


def as_csv(rows: list[dict[str, object]]) -> str:
    """Rows of the same keys as the text of a CSV file; None is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _point_row(point: SweepPoint, fronts: tuple[bool, bool]) -> dict[str, object]:
    row: dict[str, object] = dict(point.settings)
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


def length_row(point: LengthPoint) -> dict[str, object]:
    """A point of document lengths as a flat row."""
    return flatten(
        {**asdict(point), "value": point.value._asdict(), "difference": point.difference._asdict()}
    )


def sweep_as_json(sweep: Sweep, rows: list[dict[str, object]]) -> dict[str, object]:
    """A sweep as plain values; rows: as ``point_rows`` gives them."""
    return {
        "name": sweep.name,
        "dataset": sweep.description,
        "measure": sweep.measure,
        "reference": {"what": sweep.reference, **sweep.reference_value._asdict()},
        "points": rows,
        "lengths": [length_row(point) for point in sweep.lengths],
    }


def draw_pictures(folder: Path, sweep: Sweep, progress: Progress) -> tuple[dict[str, str], str]:
    """Write the pictures as PNG files, and return them as svg elements.

    A sweep by exact search has one cost only, and no picture of it. Without matplotlib there are no
    pictures, and a note says so.

    Returns:
        Pictures of costs by title, and the picture of document lengths ("" where there is none).
    """
    drawn = {}
    try:
        if any(not point.is_exact for point in sweep.points):
            for cost, title in _TITLES.items():
                figure = pareto_picture(sweep, cost)  # type: ignore[arg-type]
                write_bytes(folder / f"pareto-{cost}.png", as_png(figure))
                drawn[title] = as_svg(figure)
        if not sweep.lengths:
            return drawn, ""
        figure = length_picture(sweep)
        write_bytes(folder / "lengths.png", as_png(figure))
        return drawn, as_svg(figure)
    except MissingExtraError as error:
        progress.note(f"no pictures: {error}, then run the same command again: nothing is lost")
        return {}, ""
