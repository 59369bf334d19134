"""colmodern index info and explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Column, Table

    from colmodern.index.plaid.explain import Explanation

_FOLDER = click.Path(path_type=Path)


@click.command("info")
@click.argument("index", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def info(index: Path, as_json: bool) -> None:
    """Counts, settings and sizes of INDEX."""
    from rich.console import Console
    from rich.table import Table

    from colmodern.cli.tables import figures
    from colmodern.evaluation.report import Figure
    from colmodern.index.plaid.index import PlaidIndex

    found = PlaidIndex.load(index).info()
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    counts = [Figure(name, f"{value:,}") for name, value in found.items() if isinstance(value, int)]
    settings = [Figure(name, str(value)) for name, value in found["settings"].items()]
    encoder = Figure("encoder", (found["fingerprint"] or "unknown")[:12])
    parts = Table("part", _number("bytes"), _number("a token"))
    for name, size in found["bytes"].items():
        parts.add_row(name, f"{size:,}", f"{found['bytes_per_token'][name]:,.2f}")
    Console().print(figures(str(index), [*counts, *settings, encoder]), parts)


@click.command("explain")
@click.argument("index", type=_FOLDER)
@click.argument("embeddings", type=_FOLDER)
@click.argument("doc_id")
@click.argument("query")
@click.option("-k", default=10, show_default=True, help="Documents that the search is for.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that the checkpoint has.")
def explain(
    index: Path,
    embeddings: Path,
    doc_id: str,
    query: str,
    k: int,
    device: str,
    trust_remote_code: bool,
) -> None:
    """Say where a search of INDEX for QUERY keeps or loses the document DOC_ID.

    EMBEDDINGS, a run folder or embeddings, says which encoder to use.
    """
    from rich.console import Console

    from colmodern.pipeline.artifacts import open_index, store_of
    from colmodern.pipeline.load_encoder import encoder_of_store

    store = store_of(embeddings)
    opened = open_index(index, store)
    encoder = encoder_of_store(store, device=device, trust_remote_code=trust_remote_code)
    found = opened.explain(encoder.encode_queries([query])[0], doc_id, k)
    Console().print(_stages(found), _alignment(found))
    click.echo(f"{doc_id}: {found.reason}")


def _stages(found: Explanation) -> Table:
    from rich.table import Table

    table = Table("stage", *map(_number, ("documents", "rank", "score")))
    for name, n_seen, rank, score in found.stages:
        place = ("-", "-") if rank is None or score is None else (f"{rank:,}", f"{score:,.2f}")
        table.add_row(name, f"{n_seen:,}", *place)
    return table


def _alignment(found: Explanation) -> Table:
    from rich.table import Table

    table = Table(*map(_number, ("query token", "document token", "similarity")))
    for query_token, doc_token, similarity in found.alignment:
        table.add_row(str(query_token), str(doc_token), f"{similarity:.4f}")
    return table


def _number(header: str) -> Column:
    from rich.table import Column

    return Column(header, justify="right")
