"""colmodern search for a folder that is a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colmodern.cli import terminal
from colmodern.cli.page_options import PageOptions

if TYPE_CHECKING:
    from colmodern.collection.documents import CollectionHit
    from colmodern.collection.reader import CollectionReader

_SHOWN = 160  # characters of the beginning of a text, where no passage matched


def open_collection(
    folder: Path, *, device: str, trust_remote_code: bool, refused: Mapping[str, object]
) -> CollectionReader:
    """A collection that is searched.

    refused: options that a collection does not take, by name; UsageError where one has a value
    """
    from colmodern.collection.reader import CollectionReader

    if given := [name for name, value in refused.items() if value]:
        raise click.UsageError(
            f"{folder} is a collection, which has its own model and index; leave {given[0]} out"
        )
    return CollectionReader.open(
        folder, read_only=True, device=device, trust_remote_code=trust_remote_code
    )


def search_collection(
    collection: CollectionReader,
    query: str | None,
    k: int,
    *,
    queries: Path | None,
    output: Path | None,
    as_json: bool,
    page: PageOptions,
) -> None:
    """Print the documents that match one query, or write a TREC run for many."""
    from colmodern.cli.progress import TerminalProgress
    from colmodern.datasets.judgments import read_queries
    from colmodern.evaluation.trec import write_run
    from colmodern.types import ScoredDoc

    if queries is None or output is None:
        hits = collection.search(query or "", k, **page.arguments())
        _print(hits, as_json, is_grouped=page.group_by is not None)
        return
    if queries.is_dir():
        raise click.UsageError(
            f"--queries={queries} is a folder; a collection encodes texts, so give a queries.jsonl"
        )
    texts = read_queries(queries)
    with TerminalProgress() as progress:
        results = collection.search(
            list(texts.values()), k, spans=False, progress=progress, **page.arguments()
        )
    run = {
        query_id: [ScoredDoc(hit.doc_id, hit.score) for hit in hits]
        for query_id, hits in zip(texts, results, strict=True)
    }
    write_run(output, run, tag="colmodern-collection")
    terminal.put_json({"run": str(output)}) if as_json else terminal.put(output)


def _print(hits: Sequence[CollectionHit], as_json: bool, *, is_grouped: bool) -> None:
    from colmodern.cli.tables import cell_text, show
    from colmodern.report.tables import text_table

    if as_json:
        group = ("group",) if is_grouped else ()
        terminal.put_json([_fields(hit) | dict.fromkeys(group, hit.group) for hit in hits])
        return
    titles = any(hit.title for hit in hits)
    rows = [
        [
            str(hit.rank),
            f"{hit.score:.4f}",
            hit.doc_id,
            *([cell_text(hit.group)] if is_grouped else []),
            *([_one_line(hit.title)] if titles else []),
            _passage(hit),
        ]
        for hit in hits
    ]
    header = ["rank", "score", "document", *(["group"] if is_grouped else [])]
    header += [*(["title"] if titles else []), "passage"]
    words = tuple(range(2, len(header)))
    show(text_table("", header, rows, words=words), prose=(len(header) - 1,))


def _passage(hit: CollectionHit) -> str:
    """The passages that matched, in the order of the text; without any, its beginning."""
    passages = " … ".join(map(_one_line, hit.passages))
    return passages or _one_line(hit.text)[:_SHOWN]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fields(hit: CollectionHit) -> dict[str, Any]:
    spans = {
        name: [span._asdict() for span in getattr(hit, name)] for name in ("spans", "title_spans")
    }
    return {
        "rank": hit.rank,
        "doc_id": hit.doc_id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "fields": dict(hit.fields),
        **spans,
        **({} if hit.passage is None else {"passage": hit.passage, "characters": hit.characters}),
    }
