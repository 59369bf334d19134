"""A sweep as tables: all points, the best for their cost, and document lengths."""

from __future__ import annotations

from dataclasses import replace

from colmodern.evaluation.significance import LEVEL
from colmodern.evaluation.sweep import Axis, Sweep, SweepPoint, axes_of, shown
from colmodern.report.tables import Cell, Table

_BEST_FOR = {(False, False): "", (True, False): "ms", (False, True): "bytes", (True, True): "both"}
_DEFINITIONS = (
    "Exact: exact search on the same embeddings. Overlap: the share of its best documents found. "
    "ms: one query after another, the median and the 95th percentile, with the mean of first stages. "
    "Bytes: on disk, for each token of the longest encoding before pooling, so that all points can be "
    "compared. Best for: no other point is as cheap in that and as good."
)


def fixed_settings(sweep: Sweep) -> str:
    """The settings that all points share, in words; empty where there are none."""
    first = sweep.points[0].settings
    same = [
        f"{axis.heading} {shown(axis.name, first[axis.name])}"
        for axis in _of(sweep, False)
        if (axis.name, first[axis.name]) != ("cut", "encode")  # nothing was cut
    ]
    return f"All points: {', '.join(same)}." if same else ""


def points_table(sweep: Sweep) -> Table:
    """One row a point, numbered as in the pictures; the most important columns come first."""
    rows = [cells for cells, _ in _point_cells(sweep)]
    header = _header(sweep)
    return Table("Points", header, rows, n_words=0, note=_DEFINITIONS, words=(_best_column(sweep),))


def best_table(sweep: Sweep) -> Table:
    """The rows of ``points_table`` that are on a front, best quality first."""
    ordered = sorted(_point_cells(sweep), key=lambda row: -row[1].quality)
    column = _best_column(sweep)
    rows = [cells for cells, _ in ordered if cells[column].text]
    header = _header(sweep)
    return Table("Best for its cost", header, rows, n_words=0, note=_DEFINITIONS, words=(column,))


def essentials(sweep: Sweep, points: Table) -> Table:
    """The first columns of a table of points, as many as fit a terminal."""
    n = _best_column(sweep) + 1
    return replace(points, header=points.header[:n], rows=[row[:n] for row in points.rows])


def _header(sweep: Sweep) -> list[str]:
    header = ["#", *(axis.heading for axis in _of(sweep, True)), sweep.measure, "ms"]
    header += ["bytes / token", "best for", f"{LEVEL:.0%} interval", "exact"]
    return [*header, *sweep.points[0].overlap, "95 % ms"]


def _best_column(sweep: Sweep) -> int:
    return _header(sweep).index("best for")


def _point_cells(sweep: Sweep) -> list[tuple[list[Cell], SweepPoint]]:
    axes, rows = _of(sweep, True), []
    for number, (point, fronts) in enumerate(zip(sweep.points, sweep.fronts, strict=True), 1):
        low, high = point.measures[sweep.measure][1:]
        median, most = point.latency_ms
        cells = [
            f"{number}",
            *(shown(axis.name, point.settings[axis.name]) for axis in axes),
            f"{point.quality:.4f}",
            f"{median:.2f}",
            f"{point.bytes_per_token:,.1f}",
            _BEST_FOR[fronts],
            f"{low:.3f} to {high:.3f}",
            f"{point.exact[sweep.measure]:.4f}",
            *(f"{value:.3f}" for value in point.overlap.values()),
            f"{most:.2f}",
        ]
        rows.append(([Cell(text) for text in cells], point))
    return rows


def lengths_table(sweep: Sweep) -> Table:
    """Exact search by document length; no rows where there is one length."""
    header = ["length", "cut", "pool", sweep.measure, f"{LEVEL:.0%} interval"]
    header += ["difference", f"{LEVEL:.0%} interval", "approximate"]
    rows = [
        [
            Cell(shown("document_length", point.length)),
            Cell(point.cut),
            Cell(f"{point.pool_factor}"),
            Cell(f"{point.value.mean:.4f}"),
            Cell(f"{point.value.low:.4f} to {point.value.high:.4f}"),
            Cell(f"{point.difference.mean:+.4f}"),
            Cell(f"{point.difference.low:+.4f} to {point.difference.high:+.4f}"),
            Cell(f"{point.cut_share:.1%}" if point.cut_share else "none"),
        ]
        for point in sweep.lengths
    ]
    note = (
        f"Exact search. Differences, query by query, from {sweep.reference}. Approximate: the share of "
        "documents that were cut from a longer encoding; their tokens are those of a new encoding, "
        "their embeddings saw the rest of the text too. All others are as encoded at that length."
    )
    return Table("Document length", header, rows, note=note, words=(1,))


def _of(sweep: Sweep, varies: bool) -> list[Axis]:
    return [axis for axis in axes_of(sweep) if axis.varies == varies]
