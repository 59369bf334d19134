"""The HTML page of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from colmodern.evaluation.recipe import flat
from colmodern.evaluation.sweep import Sweep
from colmodern.report.page import folded, key_values, page, remark, section, table
from colmodern.report.sweep_tables import best_table, fixed_settings, lengths_table, points_table

_FRONT = (
    "The line joins the points that no other point beats in both; numbers are those of the table. "
    "Dashed: exact search on the longest embeddings. Hollow: last candidates scored exactly."
)


@dataclass(frozen=True)
class SweepPage:
    """The content of the page; pictures are svg elements by title, none without matplotlib."""

    sweep: Sweep
    recipe: Mapping[str, object]  # nested
    pareto: Mapping[str, str] = field(default_factory=dict)
    lengths: str = ""
    notes: Sequence[str] = ()


def render_sweep(shown: SweepPage) -> str:
    """A sweep as the text of an HTML page."""
    sweep = shown.sweep
    pictures = "".join(
        f"<figure>{svg}<figcaption>{escape(title)}</figcaption></figure>"
        for title, svg in shown.pareto.items()
    )
    lengths = _lengths(sweep, shown.lengths)
    points = _points(sweep, pictures)
    # exact search has one cost: its lengths are what the sweep is about
    sections = [lengths, *points] if _is_exact(sweep) else [*points, lengths]
    return page(
        f"{sweep.name}: {len(sweep.points)} points",
        sweep.description,
        *map(remark, shown.notes),
        *sections,
        section(
            "Recipe", folded("Every setting, version and machine", key_values(flat(shown.recipe)))
        ),
    )


def _is_exact(sweep: Sweep) -> bool:
    return all(point.is_exact for point in sweep.points)


def _lengths(sweep: Sweep, picture: str) -> str:
    if not sweep.lengths:
        return ""
    drawn = f"<figure>{picture}</figure>" if picture else ""
    return section("Document length", drawn, table(lengths_table(sweep)))


def _points(sweep: Sweep, pictures: str) -> list[str]:
    """The fronts and all points; exact search has one cost, and no front worth a picture."""
    same, every = remark(fixed_settings(sweep)), points_table(sweep)
    if _is_exact(sweep):
        return [section("Points", same, table(every))]
    drawn = f'<div class="figures">{pictures}</div>{remark(_FRONT)}' if pictures else ""
    best = section("Best for its cost", drawn, same, table(best_table(sweep)))
    return [best, section("All points", folded(f"{len(every.rows)} points", table(every)))]
