"""colmodern index explain INDEX [EMBEDDINGS] DOC_ID QUERY: the old name of colmodern explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from colmodern.cli import terminal
from colmodern.cli.explain import print_explanation, search_options
from colmodern.cli.options import PATH, json_option


@click.command("explain", hidden=True)
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="INDEX [EMBEDDINGS]")
@click.argument("doc_id")
@click.argument("query")
@search_options
@json_option
def explain(
    folders: tuple[Path, ...], doc_id: str, query: str, as_json: bool, **search: Any
) -> None:
    """The old name of `colmodern explain`."""
    from colmodern.pipeline.explain import ExplainSettings, explain_document

    if len(folders) > 2:
        raise click.UsageError(
            f"{len(folders) + 2} arguments; give INDEX, EMBEDDINGS, DOC_ID and QUERY, the query in quotes"
        )
    terminal.say(
        "colmodern index explain INDEX EMBEDDINGS DOC_ID QUERY is now called colmodern explain INDEX "
        "QUERY DOC_ID --embeddings EMBEDDINGS; the old name goes with version 0.2"
    )
    settings, embeddings = ExplainSettings(**search), folders[1] if len(folders) == 2 else None
    shown = explain_document(folders[0], query, doc_id, settings, embeddings=embeddings)
    print_explanation(shown, settings, as_json=as_json)
