"""colmodern index info."""

from __future__ import annotations

from pathlib import Path

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, json_option


@click.command("info")
@click.argument("index", type=PATH)
@json_option
def info(index: Path, as_json: bool) -> None:
    """Print counts, settings and sizes of INDEX."""
    from colmodern.cli.tables import show
    from colmodern.pipeline.open.artifacts import index_info
    from colmodern.report.run_page import Figure, figures_table
    from colmodern.report.tables import text_table

    facts = index_info(index)
    if as_json:
        terminal.put_json(facts)
        return
    counts = [Figure(name, f"{value:,}") for name, value in facts.items() if isinstance(value, int)]
    settings = [Figure(name, str(value)) for name, value in facts["settings"].items()]
    if "fingerprint" in facts:
        settings.append(Figure("encoder", (facts["fingerprint"] or "unknown")[:12]))
    rows, header = [[name, f"{size:,}"] for name, size in facts["bytes"].items()], ["part", "bytes"]
    if per_token := facts.get("bytes_per_token"):
        rows = [[name, size, f"{per_token[name]:,.2f}"] for name, size in rows]
        header.append("a token")
    show(figures_table(str(index), [*counts, *settings]), text_table("", header, rows))
