"""The tables of gpu.py."""

from __future__ import annotations

from typing import Any

from gpu_targets import targets
from rich.console import Console
from rich.table import Table

_KERNEL = (
    "work", "shape", "engine", "ms", "wall_ms", "share", "of", "ns_per_token_query", "tokens_per_s",
    "peak_mb", "note",
)  # fmt: skip
_SEARCH = (
    "work",
    "shape",
    "engine",
    "build_s",
    "latency_ms_median",
    "batch_qps",
    "overlap@10",
    "note",
)


def show(rows: list[dict[str, Any]], *, is_real: bool) -> None:
    """Kernels, then searches; rows as gpu.py's COLUMNS name them."""
    console = Console(width=170)
    for names, title in ((_KERNEL, "kernels"), (_SEARCH, "searches")):
        kind_rows = [row for row in rows if ("build_s" in row) == (names is _SEARCH)]
        if not kind_rows:
            continue
        if not is_real:
            title += ": interpreted, the times mean nothing"
        table = Table(title=title, title_justify="left")
        for name in names:
            table.add_column(
                name, justify="left" if name in ("work", "shape", "engine") else "right"
            )
        for row in kind_rows:
            table.add_row(*(_cell(row.get(name, "")) for name in names))
        console.print(table)


def show_targets(rows: list[dict[str, Any]]) -> None:
    """What was to be reached, a line each."""
    table = Table(title="targets", title_justify="left")
    for name in ("work", "what", "wanted", "found", ""):
        table.add_column(name, justify="left" if name in ("work", "what", "") else "right")
    for target in targets(rows):
        value = "" if target.measured is None else _cell(float(target.measured))
        wanted = f"{'at most' if target.is_most else 'at least'} {target.wanted:g}"
        table.add_row(target.work, target.what, wanted, value, target.verdict)
    Console(width=170).print(table)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
