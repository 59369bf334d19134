"""The page about a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from colmodern.evaluation.page import folded, key_values, page, remark, section, table
from colmodern.evaluation.recipe import flat
from colmodern.evaluation.sweep import Sweep, fixed_settings, lengths_table, points_table

_FRONT = (
    "The line joins what nothing else beats in both; numbers are those of the table. Dashed: exact "
    "search on the longest embeddings. Hollow: last candidates scored exactly."
)


@dataclass(frozen=True)
class SweepPage:
    """What the page shows; pictures are svg elements by title, none without matplotlib."""

    sweep: Sweep
    recipe: Mapping[str, Any]  # nested
    pareto: Mapping[str, str] = field(default_factory=dict)
    lengths: str = ""
    notes: Sequence[str] = ()


def render_sweep(shown: SweepPage) -> str:
    """The page as text."""
    sweep = shown.sweep
    pictures = "".join(
        f"<figure>{svg}<figcaption>{escape(title)}</figcaption></figure>"
        for title, svg in shown.pareto.items()
    )
    return page(
        f"{sweep.name}: {len(sweep.points)} points",
        sweep.description,
        *map(remark, shown.notes),
        section("Best for its cost", f'<div class="figures">{pictures}</div>', remark(_FRONT))
        if pictures
        else "",
        section("Points", remark(fixed_settings(sweep)), table(points_table(sweep))),
        section(
            "Document length",
            f"<figure>{shown.lengths}</figure>" if shown.lengths else "",
            table(lengths_table(sweep)),
        )
        if sweep.lengths
        else "",
        section(
            "Recipe", folded("Every setting, version and machine", key_values(flat(shown.recipe)))
        ),
    )
