"""Loss, learning rate and measures over the steps: a table, and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colmodern.files import replacing, write_text
from colmodern.optional import require

TABLE, PICTURE = "curves.csv", "curves.png"
_LOGGED = ("loss", "learning_rate", "grad_norm")

Log = Sequence[dict[str, Any]]


def write_curves(folder: Path, log: Log) -> None:
    """Write the table of a trainer's log: one row a step, with empty cells where nothing was logged."""
    steps: dict[int, dict[str, Any]] = {}
    for entry in log:
        values = {name: entry[name] for name in _LOGGED if name in entry}
        for dataset, measures in entry.get("measures", {}).items():
            values |= {f"{dataset} {measure}": value for measure, value in measures.items()}
        if values:
            row = steps.setdefault(entry["step"], {"step": entry["step"], "epoch": entry["epoch"]})
            row.update(values)
    measured = [name for row in steps.values() for name in row if " " in name]
    columns = ["step", "epoch", *_LOGGED, *dict.fromkeys(measured)]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(steps[step] for step in sorted(steps))
    write_text(folder / TABLE, text.getvalue())


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) points of every column of the table that has any."""
    with (folder / TABLE).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "epoch") and value:
                curves.setdefault(name, []).append((int(row["step"]), float(value)))
    return curves


def draw_curves(folder: Path, title: str) -> None:
    """Draw the table's curves: loss, learning rate, and the measures where there are any.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    figures = require("matplotlib.figure", extra="plot")
    curves = read_curves(folder)
    measured = [name for name in curves if name not in _LOGGED]
    panels = [["loss"], ["learning_rate"]] + ([measured] if measured else [])
    figure = figures.Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    figure.suptitle(title)
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            points = curves.get(name, [])
            axes.plot(
                [step for step, _ in points],
                [value for _, value in points],
                marker="o" if len(points) < 30 else None,
                markersize=3,
                label=name,
            )
        axes.set_xlabel("step")
        axes.set_title("measures" if names is measured else names[0].replace("_", " "))
        axes.grid(alpha=0.3)
        if names is measured:
            axes.legend(fontsize="x-small")
    with replacing(folder / PICTURE) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
