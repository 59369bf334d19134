"""colmodern search FOLDER QUERY, or --queries FILE_OR_EMBEDDINGS --output RUN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import click

from colmodern.cli import terminal
from colmodern.cli.options import OUTPUT_FILE, PATH, json_option, renamed_option, score_option
from colmodern.cli.page_options import PageOptions, page_options
from colmodern.passages import PassageHit
from colmodern.types import GroupedHit, PassageRank, Precision, Score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from colmodern.pipeline.compressed import ListedShards
    from colmodern.ragged.embeddings import TokenEmbeddings
    from colmodern.ragged.store import EmbeddingStore
    from colmodern.types import ScoredDoc

_DEVICE = "--index-device"


class QueryEncoding(NamedTuple):
    """How texts of queries become embeddings.

    model and settings: the checkpoint of documents that do not name theirs
    """

    device: str
    trust_remote_code: bool
    model: str | None
    settings: tuple[str, ...]


class SearchedIndex(NamedTuple):
    """The index of a search, and where it is.

    target: folder of the index, or shards; None for the index of the run, or exact search
    precision: None for the one of the run
    """

    target: Path | ListedShards | None
    precision: Precision | None
    device: str
    device_max_memory: str | None


@click.command("search")
@click.argument("folder", type=PATH)
@click.argument("query", required=False)
@click.option("-k", default=10, show_default=True, help="Documents to retrieve.")
@click.option(
    "--queries",
    type=PATH,
    help="A queries.jsonl, or a folder of query embeddings, instead of QUERY.",
)
@page_options
@click.option("--output", "-o", type=OUTPUT_FILE, help="TREC run to write.")
@click.option(
    "--index",
    "locations",
    multiple=True,
    metavar="FOLDER",
    help="Index to search, or http://HOST:PORT/v1/indexes/NAME of a server; several are shards that are "
    "searched as one.  [default: the run's, else exact search]",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="Precision of documents in exact search; default: the run's, else float32.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N.")
@click.option(
    "--index-device",
    default="auto",
    show_default=True,
    help="Where to search: as --device, or several GPUs such as cuda:0,cuda:1; auto: where the encoder is.",
)
@renamed_option(
    "--device-max-memory", "--device-memory", help="Bytes that may stay on a GPU, for example 20G."
)
@score_option
@click.option(
    "--passages",
    type=click.Choice(get_args(PassageRank)),
    help="Rank documents by the best of their passages or the sum of all; default: as the run, else best.",
)
@click.option("--model", "-m", help="Checkpoint of embeddings that do not name theirs.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of --model that the documents were encoded with, for example document_length=256.",
)
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that the checkpoint has.")
@json_option
def command(
    folder: Path,
    query: str | None,
    k: int,
    queries: Path | None,
    page: PageOptions,
    output: Path | None,
    locations: tuple[str, ...],
    precision: Precision | None,
    device: str,
    index_device: str,
    device_max_memory: str | None,
    score: Score,
    passages: PassageRank | None,
    model: str | None,
    settings: tuple[str, ...],
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Search FOLDER: a collection, a run, a folder that `colmodern encode` wrote, or a BM25 index.

    A collection prints the passages that matched. A run is searched as it was evaluated: with its
    index if it has one, with its stages if it was hybrid or reranked, otherwise exactly. A run that
    reranked a TREC run is searched exactly. One QUERY prints a table; --queries writes a TREC run for
    all of its queries.
    """
    from colmodern.cli.bm25 import bm25_index_of, search_bm25
    from colmodern.cli.search_collection import open_collection, search_collection
    from colmodern.collection.manifest import is_collection_folder
    from colmodern.evaluation.trec import write_run
    from colmodern.pipeline.compressed import ListedShards, index_at
    from colmodern.pipeline.open.artifacts import snippets

    _expect_options(query, queries, output, k, model, settings)
    of_embeddings = {
        "--precision": precision, "--model": model, "--set": settings,
        "--device-max-memory": device_max_memory, _DEVICE: index_device != "auto",
        "--score": score != "sum", "--passages": passages,
    }  # fmt: skip
    if is_collection_folder(folder):
        collection = open_collection(
            folder, device=device, trust_remote_code=trust_remote_code,
            refused={"--index": locations, **of_embeddings},
        )  # fmt: skip
        search_collection(
            collection, query, k, queries=queries, output=output, as_json=as_json, page=page
        )
        return
    index = index_at(locations)
    bm25 = None if isinstance(index, ListedShards) else bm25_index_of(folder, index)
    if bm25 is not None:
        kind = "bm25"
        query_ids, results = search_bm25(
            bm25, query, k, queries=queries, refused={**of_embeddings, **page.by_option}
        )
    else:
        kind, query_ids, results = _search_embeddings(
            folder, query, k, queries=queries, score=score, passages=passages, page=page,
            encoding=QueryEncoding(device, trust_remote_code, model, settings),
            searched=SearchedIndex(index, precision, index_device, device_max_memory),
        )  # fmt: skip
    if output is not None:
        write_run(output, dict(zip(query_ids, results, strict=True)), tag=f"colmodern-{kind}")
        terminal.put_json({"run": str(output)}) if as_json else terminal.put(output)
        return
    hits = [hit for hit in results[0] if isinstance(hit, PassageHit)]
    where = {hit.doc_id: hit.characters for hit in hits if hit.characters is not None}
    texts = snippets(folder, {result.doc_id for result in results[0]}, where)
    _print(results[0], texts, as_json, first=page.offset + 1)


def _search_embeddings(
    folder: Path,
    query: str | None,
    k: int,
    *,
    queries: Path | None,
    encoding: QueryEncoding,
    searched: SearchedIndex,
    score: Score,
    passages: PassageRank | None,
    page: PageOptions,
) -> tuple[str, Sequence[str], Sequence[Sequence[ScoredDoc]]]:
    """The kind of index, the ids of the queries, and their results."""
    from colmodern.cli.progress import TerminalProgress
    from colmodern.index.staged import HybridIndex
    from colmodern.pipeline.open.artifacts import (
        expect_searchable,
        open_searched,
        searched_index_of,
        store_of,
    )
    from colmodern.pipeline.open.staged import open_staged

    expect_searchable(folder)
    store = store_of(folder)
    index = searched.target or searched_index_of(folder)
    if searched.precision is not None and index is not None:
        raise click.UsageError(
            f"--precision applies to exact search only; drop it when searching {index}"
        )
    query_ids, embeddings, encoder_device = _encoded_queries(query, queries, store, encoding)
    results: Sequence[Sequence[ScoredDoc]]
    if index is None and searched.precision is None:
        devices = {"device": searched.device, "encoder_device": encoder_device, "name": _DEVICE}
        staged = open_staged(folder, store, **devices)
        if staged is not None:
            page.refuse(f"{folder} was searched in stages")
            if passages is not None:
                raise click.UsageError(
                    f"{folder} was searched in stages, which rank documents as they were evaluated; leave "
                    "--passages out"
                )
            if score == "mean" and isinstance(staged, HybridIndex):
                raise click.UsageError("--score mean is of MaxSim; fused scores have no mean")
            texts = _texts_of_queries(query, queries)
            with TerminalProgress() as progress:
                results = staged.search_batch(texts, embeddings, k, progress=progress)
            return "staged", query_ids, _scores(results, embeddings, score)
    kind, opened = open_searched(
        folder,
        store,
        index,
        precision=searched.precision,
        device=searched.device,
        encoder_device=encoder_device,
        device_max_memory=searched.device_max_memory,
        name=_DEVICE,
        fields=None if index is not None else page.table(folder, store),
        passages=passages,
    )
    options = page.arguments()
    if kind == "plaid":
        options = page.for_index(opened, folder, store).arguments()
    if query is not None and kind == "plaid":  # does not wait for the compiler
        results = [opened.search(embeddings[0], k, **options)]
    else:
        with TerminalProgress() as progress:
            results = opened.search_batch(embeddings, k, progress=progress, **options)
    return kind, query_ids, _scores(results, embeddings, score)


def _scores(
    results: Sequence[Sequence[ScoredDoc]], queries: TokenEmbeddings, score: Score
) -> Sequence[Sequence[ScoredDoc]]:
    """The results with scores of a kind."""
    from colmodern.index.ranking import mean_scores

    return mean_scores(results, queries) if score == "mean" else results


def _texts_of_queries(query: str | None, queries: Path | None) -> list[str]:
    """The texts that are searched for, which a stage of words needs beside their embeddings."""
    from colmodern.datasets.judgments import read_queries

    if queries is None:
        return [query or ""]
    if queries.is_dir():
        raise click.UsageError(
            f"--queries {queries} has embeddings; a run of several stages also needs their texts: give "
            "a queries.jsonl"
        )
    return list(read_queries(queries).values())


def _encoded_queries(
    query: str | None,
    queries: Path | None,
    store: EmbeddingStore,
    encoding: QueryEncoding,
) -> tuple[Sequence[str], TokenEmbeddings, str]:
    """Ids and embeddings of the queries, and the device on which they are encoded."""
    from colmodern.config.load import parse_overrides
    from colmodern.datasets.judgments import read_queries
    from colmodern.kernels.device import resolve_device
    from colmodern.pipeline.open.encoder import encoder_of_store

    if queries is not None and queries.is_dir():
        stored = _stored_queries(queries, store, encoding.model)
        query_ids, embeddings = stored.doc_ids, stored.to_memory()
        encoder_device = resolve_device(encoding.device, kernels="torch", name="--device").setting
    else:
        texts = {"query": query or ""} if queries is None else read_queries(queries)
        encoder = encoder_of_store(
            store,
            device=encoding.device,
            trust_remote_code=encoding.trust_remote_code,
            model=encoding.model,
            settings=parse_overrides(encoding.settings),
        )
        query_ids, embeddings = list(texts), encoder.encode_queries(list(texts.values()))
        encoder_device = encoder.device
    return query_ids, embeddings, encoder_device


def _stored_queries(folder: Path, documents: EmbeddingStore, model: str | None) -> EmbeddingStore:
    """The query embeddings of a folder.

    Raises InputError when they are known to be of another encoder than the documents.
    """
    from colmodern.errors import InputError
    from colmodern.ragged.store import EmbeddingStore

    if model is not None:
        raise click.UsageError("--model encodes texts; leave it out, --queries has embeddings")
    queries = EmbeddingStore(folder)
    fingerprints = {queries.fingerprint, documents.fingerprint}
    # stored queries have a fingerprint of their own, of the settings for queries
    if (
        queries.manifest.get("role") != "query"
        and None not in fingerprints
        and len(fingerprints) > 1
    ):
        raise InputError(
            f"{folder} was encoded with another encoder, or other settings of it, than "
            f"{documents.folder}; encode the queries with the documents' encoder"
        )
    return queries


def _print(
    results: Sequence[ScoredDoc], texts: Mapping[str, str], as_json: bool, first: int
) -> None:
    """Print the best first.

    Args:
        results: The results of a query.
        texts: doc_id -> its beginning, empty where no text is at hand.
        as_json: Whether to print JSON.
        first: Rank of the first result.
    """
    from colmodern.cli.tables import cell_text, show
    from colmodern.report.tables import text_table

    ranked = list(enumerate(results, start=first))
    if as_json:
        terminal.put_json(
            [
                {"rank": rank, "doc_id": hit.doc_id, "score": float(hit.score)}
                | _described(hit)
                | ({"text": texts[hit.doc_id]} if texts else {})
                for rank, hit in ranked
            ]
        )
        return
    kinds = {"group": GroupedHit, "passage": PassageHit}
    columns = [name for name, kind in kinds.items() if any(isinstance(x, kind) for x in results)]
    rows = [
        [
            str(rank),
            f"{hit.score:.4f}",
            hit.doc_id,
            *(cell_text(_described(hit).get(name)) for name in columns),
            *([texts[hit.doc_id]] if texts else []),
        ]
        for rank, hit in ranked
    ]
    header = ["rank", "score", "document", *columns]
    prose = (len(header),) if texts else ()
    header += ["text"] if texts else []
    show(text_table("", header, rows, words=(2, *prose)), prose=prose)


def _described(hit: ScoredDoc) -> dict[str, object]:
    """A document's group, or the number of its best passage, and its characters where they are known."""
    if isinstance(hit, GroupedHit):
        return {"group": hit.group}
    if not isinstance(hit, PassageHit):
        return {}
    known = {} if hit.characters is None else {"characters": list(hit.characters)}
    return {"passage": hit.passage, **known}


def _expect_options(
    query: str | None,
    queries: Path | None,
    output: Path | None,
    k: int,
    model: str | None,
    settings: tuple[str, ...],
) -> None:
    """Raise UsageError for options that do not go together."""
    from colmodern.errors import InputError

    if (query is None) == (queries is None):
        raise click.UsageError("give either a QUERY or --queries FILE")
    if queries is not None and output is None:
        raise click.UsageError("--queries needs --output, the TREC run to write")
    if output is not None and queries is None:
        raise click.UsageError("--output needs --queries; one QUERY prints its results")
    if settings and model is None:
        raise click.UsageError("--set is for --model; the embeddings name their settings")
    if k < 1:
        raise InputError(f"-k={k}; ask for at least 1 document")
