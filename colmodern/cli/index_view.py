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
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.report.run_page import Figure, figures_table
    from colmodern.report.tables import text_table

    facts = PlaidIndex.load(index).info()
    if as_json:
        terminal.put_json(facts)
        return
    counts = [Figure(name, f"{value:,}") for name, value in facts.items() if isinstance(value, int)]
    settings = [Figure(name, str(value)) for name, value in facts["settings"].items()]
    encoder = Figure("encoder", (facts["fingerprint"] or "unknown")[:12])
    rows = [
        [name, f"{size:,}", f"{facts['bytes_per_token'][name]:,.2f}"]
        for name, size in facts["bytes"].items()
    ]
    sizes = text_table("", ["part", "bytes", "a token"], rows)
    show(figures_table(str(index), [*counts, *settings, encoder]), sizes)
