"""Labels beside points, moved until none covers another."""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# (right, up) in points from the point, and the side where the text touches it; the first that fits
_PLACES = [
    (x, y, side)
    for y in (-9, 5, -18, 14, -27, 23, -36, 32, -45, 41)
    for x, side in ((6, "left"), (-6, "right"))
]


class Label(NamedTuple):
    """A text and the point it belongs to, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(axes: Axes, labels: list[Label], points: list[tuple[float, float]]) -> None:
    """Write the labels where they cover no other label and none of the points.

    A label that fits nowhere takes the last place. Call it when the axes have their final
    size and limits.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken = [_around(*axes.transData.transform(point)) for point in points]
    for label in labels:
        text: Annotation | None = None
        for anchor in _PLACES:
            if text is not None:
                text.remove()
            text = _write(axes, label, *anchor)
            box = text.get_window_extent(renderer)
            is_inside = frame.containsx(box.x0) and frame.containsx(box.x1)
            is_inside = is_inside and frame.containsy(box.y0) and frame.containsy(box.y1)
            if is_inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _write(axes: Axes, label: Label, x: float, y: float, side: str) -> Annotation:
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(x, y),
        textcoords="offset points",
        ha=side,
        fontsize=7,
        color=label.colour,
    )


def _around(x: float, y: float) -> Bbox:
    return Bbox.from_extents(x - 5, y - 5, x + 5, y + 5)
