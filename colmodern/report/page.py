"""Building blocks of a self-contained HTML page: no script, no network; light, dark, phone, print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
import numpy.typing as npt

from colmodern.report.tables import WORSE, Cell, Table

_BINS = 10
_MOST_STEPS = 500  # a curve of more queries is drawn by its quantiles
_WIDE = 1000  # width of a curve, in units of its view box


def page(title: str, subtitle: str, *blocks: str) -> str:
    """A whole page; ``blocks`` are HTML."""
    template = Template((files("colmodern.report") / "page.html").read_text("utf-8"))
    return template.substitute(
        title=escape(title), subtitle=escape(subtitle), body="\n".join(filter(None, blocks))
    )


def section(title: str, *blocks: str) -> str:
    """A heading with the blocks under it; empty where all blocks are empty."""
    inside = "\n".join(filter(None, blocks))
    return f"<h2>{escape(title)}</h2>\n{inside}" if inside else ""


def remark(text: str) -> str:
    """A paragraph in the soft colour; empty for an empty text."""
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def table(shown: Table) -> str:
    """A table with its note, without its title; empty when it has no rows and no note."""
    if not shown.rows:
        return remark(shown.note)
    kinds = [' class="n"' if shown.is_number(i) else "" for i in range(len(shown.header))]
    header = "".join(
        f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, shown.header, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>\n"
        for row in shown.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>\n<tbody>{rows}</tbody></table>'
        f"</div>{remark(shown.note)}"
    )


def key_values(values: Mapping[str, str]) -> str:
    """Names and values in two columns, as a recipe has them."""
    rows = "".join(
        f'<tr><th>{_breakable(key)}</th><td class="mono">{escape(value)}</td></tr>\n'
        for key, value in values.items()
    )
    return f'<table class="recipe"><tbody>{rows}</tbody></table>'


def folded(summary: str, *blocks: str, value: str = "", is_open: bool = False) -> str:
    """Blocks that unfold under a summary line; value: shown at the end of the line."""
    line = f'<span class="query"><span>{escape(summary)}</span>{_value(value)}</span>'
    inside = "".join(blocks)
    return f"<details{' open' if is_open else ''}><summary>{line}</summary>{inside}</details>\n"


def histogram(values: Sequence[float], label: str) -> str:
    """Bars that count values between 0 and 1 by tenths."""
    counts, _ = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    highest = int(counts.max(initial=1))
    bars = "".join(
        f'<div style="height:{100 * count / highest:.1f}%" title="{count} queries">'
        f"<span>{count}</span></div>"
        for count in map(int, counts)
    )
    axis = "".join(f"<span>{i / _BINS:.1f}</span>" for i in range(_BINS))
    return (
        f'<div class="bars" role="img" aria-label="histogram of {escape(label)}">{bars}</div>'
        f'<div class="axis">{axis}</div>'
    )


def difference_curve(differences: npt.NDArray[np.float64], label: str) -> str:
    """The differences of all queries from the best to the worst, as areas above and below 0."""
    ordered = np.sort(differences)[::-1]
    if len(ordered) > _MOST_STEPS:
        ordered = np.quantile(differences, np.linspace(1, 0, _MOST_STEPS))
    reach = float(np.abs(ordered).max(initial=0.0)) or 1.0
    paths = [
        f'<path class="{kind}" d="{_area(np.clip(ordered, *limits) / reach)}"/>'
        for kind, limits in (("up", (0.0, None)), ("down", (None, 0.0)))
    ]
    return (
        f'<svg class="curve" viewBox="0 -1 {_WIDE} 2" preserveAspectRatio="none" role="img" '
        f'aria-label="differences of {escape(label)}">{"".join(paths)}'
        f'<line x1="0" x2="{_WIDE}" y1="0" y2="0" vector-effect="non-scaling-stroke"/></svg>'
        f'<div class="ends"><span>best {ordered[0]:+.3f}</span><span>median '
        f"{float(np.median(differences)):+.3f}</span><span>worst {ordered[-1]:+.3f}</span></div>"
    )


def _area(heights: npt.NDArray[np.float64]) -> str:
    """Steps of equal width over a base line."""
    edges = np.linspace(0, _WIDE, len(heights) + 1)
    steps = "".join(
        f"L{left:.4g} {-height:.4g}L{right:.4g} {-height:.4g}"
        for left, right, height in zip(edges, edges[1:], heights, strict=False)
    )
    return f"M0 0{steps}L{_WIDE} 0Z"


def _cell(cell: Cell) -> str:
    text = _breakable(cell.text)
    if cell.is_better:
        return f'<strong class="better">{text}</strong>'
    return f'<span class="worse">{text}{WORSE}</span>' if cell.is_worse else text


def _breakable(text: str) -> str:
    """Text in which a long name may be broken after a dot, an underscore or a slash."""
    return re.sub(r"(?<=[._/])(?=[A-Za-z])", "<wbr>", escape(text))


def _value(text: str) -> str:
    return f'<span class="value">{escape(text)}</span>' if text else ""
