"""The picture of a run: overlap@10 against latency, and against bytes per token."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from labels import Label, place_labels
from settings import label

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Row = dict[str, Any]

_COLOURS = {
    "colmodern": "#c0392b",
    "exact": "#555555",
    "fast-plaid": "#1f77b4",
    "xtr-warp": "#2e8b57",
}
_MARKERS = "osD^vPX*"  # one a build of an engine
_LATENCY, _SIZE = "latency_ms_median", "bytes_per_token"


def draw(rows: list[Row], path: Path) -> bool:
    """Write a PNG with a panel a number of threads and one of sizes; False if nothing was measured."""
    measured = [row for row in rows if _LATENCY in row]
    if not measured:
        return False
    threads = sorted({row["threads"] for row in measured})
    n_panels = len(threads) + 1
    figure, panels = plt.subplots(
        1, n_panels, figsize=(6.5 * n_panels, 6.5), sharey=True, squeeze=False
    )
    shown = []
    for axes, n_threads in zip(panels[0], threads, strict=False):
        thread_rows = [row for row in measured if row["threads"] == n_threads]
        shown.append((axes, thread_rows, _LATENCY))
        noun = "thread" if n_threads == 1 else "threads"
        axes.set_xlabel(f"median latency of a query, ms ({n_threads} {noun})")
    shown.append((panels[0][-1], [row for row in measured if row["threads"] == threads[-1]], _SIZE))
    panels[0][-1].set_xlabel("bytes per token on disk (with the store where it rescores)")
    panels[0][0].set_ylabel("overlap@10 with exact search")
    figure.suptitle(_caption(rows[0]), fontsize=10)
    for axes, thread_rows, x in shown:
        _plot(axes, thread_rows, x)
    figure.tight_layout()
    for axes, thread_rows, x in shown:
        points = [(row[x], row["overlap@10"]) for row in thread_rows]
        place_labels(axes, _labels(thread_rows, x), points)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _caption(row: Row) -> str:
    return (
        f"{row['collection']}: {row['n_docs']:,} documents, {row['n_tokens']:,} tokens of "
        f"{row['dim']} dimensions; {row['n_queries']} queries, top {row['k']}; {row['machine']}, "
        f"{row['date']}\na/b: probes / candidates scored; hollow: last candidates scored exactly"
    )


def _lines(rows: list[Row], x: str) -> dict[tuple[str, str, bool], list[Row]]:
    """Rows by (engine, build, whether rescored), each list by rising x."""
    lines: dict[tuple[str, str, bool], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[x]):
        is_rescored = "rescore" in row["search"]
        lines[row["engine"], label(row["build"]), is_rescored].append(row)
    return lines


def _plot(axes: Axes, rows: list[Row], x: str) -> None:
    """A line through the settings of each build of an engine."""
    builds: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        builds[row["engine"]][label(row["build"])] = None
    for (engine, build, is_rescored), points in _lines(rows, x).items():
        axes.plot(
            [row[x] for row in points],
            [row["overlap@10"] for row in points],
            color=_COLOURS[engine],
            marker=_MARKERS[list(builds[engine]).index(build) % len(_MARKERS)],
            markerfacecolor="white" if is_rescored else _COLOURS[engine],
            markersize=6,
            linewidth=1,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.margins(x=0.2, y=0.1)


def _labels(rows: list[Row], x: str) -> list[Label]:
    """A label for every point; for sizes one a line, since the search does not change them."""
    labels = []
    for (engine, build, is_rescored), points in _lines(rows, x).items():
        head = f"{engine} {build}".strip()
        if x == _SIZE:
            best = max(points, key=lambda row: row["overlap@10"])
            text = f"{head} rescored" if is_rescored else head
            labels.append(Label(best[x], best["overlap@10"], text, _COLOURS[engine]))
            continue
        for number, row in enumerate(points):
            text = f"{head}: {_short(row['search'])}" if number == 0 else _short(row["search"])
            labels.append(Label(row[x], row["overlap@10"], text, _COLOURS[engine]))
    return labels


def _short(options: dict[str, Any]) -> str:
    """Search options in short: "8/4096", "rescore", "automatic"."""
    numbers = "/".join(str(value) for value in options.values() if value is not True)
    flags = [name for name, value in options.items() if value is True]
    return " ".join(word for word in (numbers, *flags) if word) or "automatic"
