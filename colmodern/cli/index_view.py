"""colmodern index info and explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, json_option

if TYPE_CHECKING:
    from colmodern.index.plaid.search.explain import Explanation
    from colmodern.report.tables import Table


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


@click.command("explain")
@click.argument("index", type=PATH)
@click.argument("embeddings", type=PATH)
@click.argument("doc_id")
@click.argument("query")
@click.option("-k", default=10, show_default=True, help="Documents that the search returns.")
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
    from colmodern.pipeline.open.artifacts import open_index, store_of
    from colmodern.pipeline.open.encoder import encoder_of_store

    store = store_of(embeddings)
    plaid = open_index(index, store)
    encoder = encoder_of_store(store, device=device, trust_remote_code=trust_remote_code)
    explanation = plaid.explain(encoder.encode_queries([query])[0], doc_id, k)
    if as_json:
        terminal.put_json(_as_json(doc_id, explanation))
        return
    show(_stages(explanation), _alignment(explanation))
    terminal.put(f"{doc_id}: {explanation.reason}")


def _stages(explanation: Explanation) -> Table:
    from colmodern.report.tables import text_table

    rows = []
    for name, n_seen, rank, score in explanation.stages:
        standing = ("-", "-") if rank is None or score is None else (f"{rank:,}", f"{score:,.2f}")
        rows.append([name, f"{n_seen:,}", *standing])
    return text_table("", ["stage", "documents", "rank", "score"], rows)


def _alignment(explanation: Explanation) -> Table:
    from colmodern.report.tables import text_table

    rows = [
        [str(query_token), str(doc_token), f"{similarity:.4f}"]
        for query_token, doc_token, similarity in explanation.alignment
    ]
    return text_table("", ["query token", "document token", "similarity"], rows, words=())


def _as_json(doc_id: str, explanation: Explanation) -> dict[str, Any]:
    stages = [
        {"stage": name, "documents": n_seen, "rank": rank, "score": score}
        for name, n_seen, rank, score in explanation.stages
    ]
    alignment = [
        {"query_token": query_token, "document_token": doc_token, "similarity": similarity}
        for query_token, doc_token, similarity in explanation.alignment
    ]
    summary = {"doc_id": doc_id, "reason": explanation.reason}
    return {**summary, "stages": stages, "alignment": alignment}
