"""Rows of figures: in a CSV file, and as a table on the terminal."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from colmodern.environment import describe_environment

# figures are those of compiled kernels, and answers are compared to the last digit
os.environ.setdefault("COLMODERN_WHILE_COMPILING", "wait")

Row = dict[str, Any]

COLUMNS = (
    "date",
    "commit",
    "machine",
    "engine",
    "version",
    "settings",
    "collection",
    "n_docs",
    "n_tokens",
    "dim",
    "n_queries",
    "build_threads",
    "threads",
    "k",
    "build_s",
    "build_peak_mb",
    "bytes_per_token",
    "latency_ms_median",
    "latency_ms_p90",
    "batch_qps",
    "search_peak_mb",
    "overlap@10",
    "overlap@100",
    "nDCG@10",
    "batch_overlap@10",
    "note",
)
_SHOWN = (
    "engine",
    "settings",
    "threads",
    "build_s",
    "bytes_per_token",
    "latency_ms_median",
    "latency_ms_p90",
    "batch_qps",
    "overlap@10",
    "overlap@100",
    "nDCG@10",
)


def machine_and_commit() -> Row:
    """Columns that are the same in all rows of a run; "+" marks a commit with changes on top."""
    environment = describe_environment()
    hardware = environment["hardware"]
    commit = environment["commit"] or ""
    machine = f"{hardware['cores']} vCPU {hardware['processor']}, {hardware['memory_gb']:.0f} GB"
    return {"commit": commit[:7] + commit[40:], "machine": f"{machine}, CPU only"}


def append_rows(path: Path, rows: list[Row], columns: tuple[str, ...] = COLUMNS) -> None:
    """Append to a CSV file, which begins with a line of column names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def show(rows: list[Row], exact_ndcg: float | str) -> None:
    """A table of the figures that are read first."""
    first = rows[0]
    title = f"{first['collection']}: {first['n_docs']:,} documents, {first['n_tokens']:,} tokens"
    title += f" of {first['dim']} dimensions, {first['n_queries']} queries, k {first['k']}"
    if exact_ndcg:
        title += f"; exact search has nDCG@10 {exact_ndcg}"
    table = Table(title=title, title_justify="left")
    for name in _SHOWN:
        words = name.replace("_", " ").replace("latency ms", "ms")
        table.add_column(words, justify="left" if name in _SHOWN[:2] else "right")
    for row in rows:
        cells = [str(row.get(name, "")) for name in _SHOWN]
        if row.get("note"):
            cells[1] += f" ({row['note']})"
        table.add_row(*cells)
    Console(width=160).print(table)
