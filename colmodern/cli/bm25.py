"""BM25 on the command line: `colmodern index build --kind bm25`, and searches of such an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colmodern.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from colmodern.types import ScoredDoc


def build_bm25(texts: Path, index: Path, *, overwrite: bool, **settings: Any) -> None:
    """Write a BM25 index of a corpus.

    Args:
        texts: A run folder, a folder in the BEIR layout, a file of documents, or the name of a set.
        index: Folder to write.
        overwrite: Whether to replace an older index.
        **settings: Arguments of ``BM25Index.build``.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.index.bm25.index import BM25Index
    from colmodern.pipeline.open.artifacts import documents_of

    with TerminalProgress() as progress:
        built = BM25Index.build(
            documents_of(texts), index, **settings, overwrite=overwrite, progress=progress
        )
    say_bm25(built.info(), index)


def say_bm25(info: Mapping[str, Any], index: Path) -> None:
    """Print the counts of a BM25 index, and its path last."""
    terminal.put(
        f"{info['documents']:,} documents, {info['words']:,} words, {info['vocabulary']:,} different "
        f"ones, {info['bytes']['total'] / 1e6:,.1f} MB"
    )
    terminal.put(index)


def bm25_index_of(folder: Path, index: Path | None) -> Path | None:
    """The BM25 index that a search of a folder means: it, the given one, or that of a run."""
    from colmodern.index.bm25.files import is_bm25_index
    from colmodern.pipeline.open.artifacts import index_of

    candidates = [index] if index is not None else [folder, index_of(folder)]
    return next((path for path in candidates if path is not None and is_bm25_index(path)), None)


def search_bm25(
    index: Path,
    query: str | None,
    k: int,
    *,
    queries: Path | None,
    refused: Mapping[str, object],
) -> tuple[Sequence[str], Sequence[Sequence[ScoredDoc]]]:
    """Ids of the queries and their results.

    Args:
        index: The folder of the index.
        query: One text, or None.
        k: Documents of each query.
        queries: A queries.jsonl, where ``query`` is None.
        refused: Options of other searches -> whether they were given.

    Raises:
        click.UsageError: An option was given that BM25 has no use for.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.datasets.judgments import read_queries
    from colmodern.index.bm25.index import BM25Index

    if options := [option for option, value in refused.items() if value]:
        raise click.UsageError(f"{options[0]} is for embeddings; {index} is a BM25 index")
    if queries is not None and queries.is_dir():
        raise click.UsageError(f"--queries {queries} has embeddings; BM25 takes a queries.jsonl")
    texts = {"query": query or ""} if queries is None else read_queries(queries)
    with TerminalProgress() as progress:
        results = BM25Index.load(index).search_batch(texts.values(), k, progress=progress)
    return list(texts), results
