"""Pictures of a sweep as SVG, which take their colours from the page they stand in; needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from colmodern.evaluation.sweep import LengthPoint, Sweep, SweepPoint, axes_of, shown
from colmodern.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cost = Literal["latency", "bytes"]

_INK, _LINE = "#010203", "#010204"  # placeholders for the page's own colours
_LINE_ON_WHITE = "#dde2ea"
_OF_PAGE = {_INK: "currentColor", _LINE: f"var(--line, {_LINE_ON_WHITE})"}
# on white and on black
_COLOURS = ("#4e79d8", "#d9822b", "#2f9e6e", "#b04fc4", "#c0392b", "#7a7a7a")
_MARKERS = "osD^vPX*<>"
_SIZE = (6.4, 4.4)  # inches; a page scales it to its own width
_X_LABEL = {
    "latency": "median latency of a query, ms",
    "bytes": "bytes on disk for each token of the text",
}


def pareto_picture(sweep: Sweep, cost: Cost) -> Figure:
    """Quality against a cost: a colour for each number of bits, a mark for each state of embeddings.

    Points on the front are joined by a line and numbered as in the table.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, axes = _new()
    fronts = [pair[cost == "bytes"] for pair in sweep.fronts]
    colours = _assign(_COLOURS, [_group(point) for point in sweep.points])
    markers = _assign(_MARKERS, [_variant(sweep, point) for point in sweep.points])
    for point, is_on in zip(sweep.points, fronts, strict=True):
        is_hollow = bool(point.settings.get("rescore"))
        axes.plot(
            [_cost(point, cost)],
            [point.quality],
            marker=markers[_variant(sweep, point)],
            color=colours[_group(point)],
            markerfacecolor="none" if is_hollow else colours[_group(point)],
            markersize=7,
            alpha=1.0 if is_on else 0.45,
            linestyle="none",
            zorder=3 if is_on else 2,
        )
    _draw_front(axes, sweep, fronts, cost)
    axes.axhline(sweep.reference_value.mean, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlabel(_X_LABEL[cost])
    axes.set_ylabel(sweep.measure)
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.margins(x=0.08, y=0.12)
    _legend(figure, axes, colours, markers)
    return figure


def length_picture(sweep: Sweep) -> Figure:
    """Quality of exact search against document length, with intervals; a line for each way of cutting.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, axes = _new()
    lines, positions = _lines(sweep.lengths), _positions(sweep.lengths)
    for number, ((cut, factor), points) in enumerate(lines.items()):
        points = sorted(points, key=lambda point: positions[point.length])
        pooled = f", pool {factor}" if len({key[1] for key in lines}) > 1 else ""
        label = {"encode": "encoded at each length", "stored": "cut from stored embeddings"}[cut]
        means = [point.value.mean for point in points]
        errors = [
            [point.value.mean - point.value.low for point in points],
            [point.value.high - point.value.mean for point in points],
        ]
        colour = _COLOURS[number % len(_COLOURS)]
        shift = 1 + 0.012 * number  # so that intervals do not hide each other
        axes.errorbar(
            [positions[point.length] * shift for point in points],
            means,
            yerr=errors,
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=6,
            capsize=3,
            linewidth=1.4,
            elinewidth=1,
            label=label + pooled,
        )
    axes.set_xscale("log")
    axes.set_xticks(
        list(positions.values()), [shown("document_length", point) for point in positions]
    )
    axes.minorticks_off()
    axes.set_xlabel("document length, tokens")
    axes.set_ylabel(f"{sweep.measure}, exact search")
    axes.margins(x=0.06, y=0.1)
    figure.legend(loc="outside upper left", frameon=False, labelcolor=_INK, ncols=2, fontsize=9)
    return figure


def as_svg(figure: Figure) -> str:
    """A picture as an svg element in the colours of the page around it."""
    stream = io.StringIO()
    matplotlib = require("matplotlib", extra="plot")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "colmodern"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for ours, theirs in _OF_PAGE.items():
        text = text.replace(ours, theirs)
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # the page sets the size
    return f"{head}>{rest}"


def as_png(figure: Figure) -> bytes:
    """A picture as the bytes of a PNG file on white, for a paper or a chat."""
    stream = io.BytesIO()
    _color_grid(figure, _LINE_ON_WHITE)
    figure.savefig(stream, format="png", dpi=160, facecolor="white")
    _color_grid(figure, _LINE)
    return stream.getvalue()


def _color_grid(figure: Figure, color: str) -> None:
    for axes in figure.axes:
        axes.grid(color=color, linewidth=0.8)


def _new() -> tuple[Figure, Axes]:
    figures = require("matplotlib.figure", extra="plot")
    figure: Figure = figures.Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK, which="both")
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    return figure, axes


def _draw_front(axes: Axes, sweep: Sweep, fronts: Sequence[bool], cost: Cost) -> None:
    """Draw a line of steps through the front, and numbers beside its points."""
    best = [
        (_cost(point, cost), point.quality, number)
        for number, (point, is_on) in enumerate(zip(sweep.points, fronts, strict=True), 1)
        if is_on
    ]
    best.sort()
    axes.step(
        [x for x, _, _ in best],
        [y for _, y, _ in best],
        where="post",
        color=_INK,
        linewidth=1,
        zorder=1,
    )
    for x, y, number in best:
        axes.annotate(
            str(number),
            (x, y),
            xytext=(-4, 6),
            textcoords="offset points",
            color=_INK,
            fontsize=9,
            ha="right",
        )


def _legend(figure: Figure, axes: Axes, colours: dict[str, str], markers: dict[str, str]) -> None:
    lines = require("matplotlib.lines", extra="plot")

    def handle(label: str, colour: str, marker: str) -> object:
        return lines.Line2D([], [], color=colour, marker=marker, linestyle="none", label=label)

    handles = [handle(label, colour, "o") for label, colour in colours.items()]
    if len(markers) > 1:
        handles += [handle(label, _INK, marker) for label, marker in markers.items()]
    handles.append(
        lines.Line2D([], [], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), label="exact search")
    )
    figure.legend(
        handles=handles,
        loc="outside upper left",
        frameon=False,
        labelcolor=_INK,
        ncols=3,
        fontsize=9,
    )


def _plain_ticks(axes: Axes) -> None:
    """Label a logarithmic axis with plain numbers."""
    ticker = require("matplotlib.ticker", extra="plot")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def _cost(point: SweepPoint, cost: Cost) -> float:
    return point.latency_ms[0] if cost == "latency" else point.bytes_per_token


def _group(point: SweepPoint) -> str:
    bits = point.settings.get("nbits")
    return "exact" if point.is_exact else f"{bits} bit{'s' if bits != 1 else ''}"


def _variant(sweep: Sweep, point: SweepPoint) -> str:
    """The state of a point's embeddings, in words, where points differ in it."""
    variants = [
        f"{axis.heading} {shown(axis.name, point.settings[axis.name])}"
        for axis in axes_of(sweep)
        if axis.varies and axis.name in ("document_length", "cut", "pool_factor")
    ]
    return ", ".join(variants)


def _assign(kinds: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    return {label: kinds[i % len(kinds)] for i, label in enumerate(dict.fromkeys(labels))}


def _lines(points: Sequence[LengthPoint]) -> dict[tuple[str, float], list[LengthPoint]]:
    """Points by (cut, pool factor); what is cut from stored embeddings ends in the encoding itself."""
    lines: dict[tuple[str, float], list[LengthPoint]] = {}
    for point in points:
        lines.setdefault((point.cut, point.pool_factor), []).append(point)
    for (cut, factor), line in list(lines.items()):
        encoded = lines.get(("encode", factor), [])
        if cut == "stored" and encoded:
            positions = _positions(points)
            line.append(max(encoded, key=lambda point: positions[point.length]))
            if len(encoded) == 1:  # its own line would be this point alone
                del lines["encode", factor]
    return lines


def _positions(points: Sequence[LengthPoint]) -> dict[int | None, float]:
    """Length -> position on the axis; whole documents, whose length is open, are after the longest."""
    known = sorted({point.length for point in points if point.length is not None})
    positions: dict[int | None, float] = {length: float(length) for length in known}
    if any(point.length is None for point in points):
        positions[None] = 2.0 * max(known, default=1)
    return positions
