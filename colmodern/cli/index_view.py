"""colmodern index info and explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, json_option

if TYPE_CHECKING:
    from colmodern.evaluation.tables import Table
    from colmodern.index.plaid.explain import Explanation


@click.command("info")
@click.argument("index", type=PATH)
@json_option
def info(index: Path, as_json: bool) -> None:
    """Counts, settings and sizes of INDEX."""
    from colmodern.cli.tables import figures, show, table
    from colmodern.evaluation.report import Figure
    from colmodern.index.plaid.index import PlaidIndex

    found = PlaidIndex.load(index).info()
    if as_json:
        terminal.put_json(found)
        return
    counts = [Figure(name, f"{value:,}") for name, value in found.items() if isinstance(value, int)]
    settings = [Figure(name, str(value)) for name, value in found["settings"].items()]
    encoder = Figure("encoder", (found["fingerprint"] or "unknown")[:12])
    parts = [
        [name, f"{size:,}", f"{found['bytes_per_token'][name]:,.2f}"]
        for name, size in found["bytes"].items()
    ]
    sizes = table("", ["part", "bytes", "a token"], parts)
    show(figures(str(index), [*counts, *settings, encoder]), sizes)


@click.command("explain")
@click.argument("index", type=PATH)
@click.argument("embeddings", type=PATH)
@click.argument("doc_id")
@click.argument("query")
@click.option("-k", default=10, show_default=True, help="Documents that the search is for.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that the checkpoint has.")
@json_option
def explain(
    index: Path,
    embeddings: Path,
    doc_id: str,
    query: str,
    k: int,
    device: str,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Say where a search of INDEX for QUERY keeps or loses the document DOC_ID.

    EMBEDDINGS, a run folder or embeddings, says which encoder to use.
    """
    from colmodern.cli.tables import show
    from colmodern.pipeline.artifacts import open_index, store_of
    from colmodern.pipeline.load_encoder import encoder_of_store

    store = store_of(embeddings)
    opened = open_index(index, store)
    encoder = encoder_of_store(store, device=device, trust_remote_code=trust_remote_code)
    found = opened.explain(encoder.encode_queries([query])[0], doc_id, k)
    if as_json:
        terminal.put_json(_as_json(doc_id, found))
        return
    show(_stages(found), _alignment(found))
    terminal.put(f"{doc_id}: {found.reason}")


def _stages(found: Explanation) -> Table:
    from colmodern.cli.tables import table

    rows = []
    for name, n_seen, rank, score in found.stages:
        place = ("-", "-") if rank is None or score is None else (f"{rank:,}", f"{score:,.2f}")
        rows.append([name, f"{n_seen:,}", *place])
    return table("", ["stage", "documents", "rank", "score"], rows)


def _alignment(found: Explanation) -> Table:
    from colmodern.cli.tables import table

    rows = [
        [str(query_token), str(doc_token), f"{similarity:.4f}"]
        for query_token, doc_token, similarity in found.alignment
    ]
    return table("", ["query token", "document token", "similarity"], rows, words=())


def _as_json(doc_id: str, found: Explanation) -> dict[str, Any]:
    stages = [
        {"stage": name, "documents": n_seen, "rank": rank, "score": score}
        for name, n_seen, rank, score in found.stages
    ]
    alignment = [
        {"query_token": query_token, "document_token": doc_token, "similarity": similarity}
        for query_token, doc_token, similarity in found.alignment
    ]
    about = {"doc_id": doc_id, "reason": found.reason}
    return {**about, "stages": stages, "alignment": alignment}
