"""colmodern index build|shard|add|update|attach|delete|compact|info|check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from colmodern.cli import index_explain, index_shard, index_view, terminal
from colmodern.cli.bm25 import build_bm25, say_bm25
from colmodern.cli.options import PATH, ids_to_delete, renamed_option

if TYPE_CHECKING:
    from colmodern.index.fields.table import FieldTable
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.index.sharded.index import ShardedIndex
    from colmodern.ragged.store import EmbeddingStore


FIELDS_HELP = (
    "File of the documents' fields, to filter searches by: the corpus.jsonl, or JSON lines or parquet "
    "with their ids."
)


@click.group("index")
def command() -> None:
    """Build, change and inspect an index.

    EMBEDDINGS is a run folder or a folder that `colmodern encode` wrote. Commands that change an
    index print its path last. A BM25 index is built from texts, and built again to change it.
    """


command.add_command(index_view.info)
command.add_command(index_shard.shard)
command.add_command(index_explain.explain)


@command.command("build")
@click.argument("source", type=PATH)
@click.argument("index", type=PATH)
@click.option(
    "--kind",
    type=click.Choice(["plaid", "bm25"]),
    default="plaid",
    show_default=True,
    help="Compressed embeddings, or the words of texts.",
)
@click.option("--nbits", default=4, show_default=True, help="Bits per dimension: 1, 2, 4 or 8.")
@click.option(
    "--codec",
    type=click.Choice(["pq", "residual"]),
    help="Product quantisation, or each dimension alone. Default: residual at 4 bits, else pq.",
)
@click.option("--n-centroids", type=int, help="Default: chosen from the number of tokens.")
@click.option(
    "--codec-from",
    type=PATH,
    help="Index whose codec is taken over, with its bits, centroids and seed.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 2),
    default=0,
    show_default=True,
    help="Seed of the sample and of clustering.",
)
@renamed_option(
    "--max-memory", "--max-ram", default="4G", help="Memory that the build may use, for example 2G."
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device that encodes documents: auto, cpu, cuda, cuda:N. The index does not depend on it.",
)
@click.option("--k1", type=float, help="BM25: what repeated words add.  [default: 0.9]")
@click.option("--b", type=float, help="BM25: what long documents lose.  [default: 0.4]")
@click.option(
    "--stemmer", help="BM25: a Snowball stemmer, as english or german; none.  [default: porter]"
)
@click.option(
    "--stop-words", help="BM25: the language of words left out; none.  [default: english]"
)
@click.option("--fields", type=PATH, help=FIELDS_HELP)
@click.option("--overwrite", is_flag=True, help="Replace the index that is there.")
def build(
    source: Path,
    index: Path,
    kind: str,
    nbits: int,
    codec: Literal["pq", "residual"] | None,
    n_centroids: int | None,
    codec_from: Path | None,
    seed: int,
    max_memory: str,
    device: str,
    fields: Path | None,
    overwrite: bool,
    **words: Any,
) -> None:
    """Compress the embeddings SOURCE, or with --kind bm25 index the texts SOURCE, into a folder INDEX.

    Embeddings are a run folder or a folder that `colmodern encode` wrote; an interrupted build resumes
    where it stopped when the same command runs again. Texts are a folder in the BEIR layout, a file of
    documents, the name of a data set or a run folder.
    """
    _expect_options_of(kind, click.get_current_context())
    if kind == "bm25":
        settings = {name: value for name, value in words.items() if value is not None}
        named = {name: None if value == "none" else value for name, value in settings.items()}
        build_bm25(source, index, overwrite=overwrite, **named)
        return
    from colmodern.cli.progress import TerminalProgress
    from colmodern.errors import StorageError
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.pipeline.compressed import is_index
    from colmodern.pipeline.open.artifacts import store_of

    if index.exists() and not (overwrite and is_index(index)):
        cure = "it is not an index, so delete it yourself" if overwrite else "or pass --overwrite"
        raise StorageError(f"{index} exists; choose another folder, {cure}")
    store = store_of(source)
    with TerminalProgress() as progress:
        built = PlaidIndex.build(
            store,
            index,
            fields=_fields_of(fields, store),
            nbits=nbits,
            n_centroids=n_centroids,
            seed=seed,
            max_memory=max_memory,
            codec=codec,
            codec_from=codec_from,
            overwrite=overwrite,
            device=device,
            progress=progress,
        )
    _say(built, index)


def _expect_options_of(kind: str, context: click.Context) -> None:
    """Raise UsageError for an option of the other kind."""
    of_words, shared = (
        {"k1", "b", "stemmer", "stop_words"},
        {"source", "index", "kind", "overwrite"},
    )
    for parameter in context.command.params:
        name = str(parameter.name)
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in shared and (name in of_words) != (kind == "bm25"):
            raise click.UsageError(f"{parameter.opts[0]} is not for an index of kind {kind}")


_fields = click.option("--fields", type=PATH, help=FIELDS_HELP)
_merge = click.option(
    "--merge/--no-merge",
    default=True,
    show_default=True,
    help="Merge small segments when there are many, so that searches stay fast.",
)
_durable = click.option(
    "--durable/--no-durable",
    default=True,
    show_default=True,
    help="Wait until a power cut can no longer undo the change.",
)


@command.command("add")
@click.argument("index", type=PATH)
@click.argument("embeddings", type=PATH)
@_fields
@_merge
@_durable
def add(index: Path, embeddings: Path, fields: Path | None, merge: bool, durable: bool) -> None:
    """Add the documents of EMBEDDINGS, all of which must be new, to INDEX."""
    _put(index, embeddings, fields, replace=False, merge=merge, durable=durable)


@command.command("update")
@click.argument("index", type=PATH)
@click.argument("embeddings", type=PATH)
@_fields
@_merge
@_durable
def update(index: Path, embeddings: Path, fields: Path | None, merge: bool, durable: bool) -> None:
    """Add the documents of EMBEDDINGS to INDEX, in place of those with the same ids."""
    _put(index, embeddings, fields, replace=True, merge=merge, durable=durable)


@command.command("attach")
@click.argument("index", type=PATH)
@click.argument("source", metavar="SEGMENT_OR_INDEX", type=PATH)
@_durable
def attach(index: Path, source: Path, durable: bool) -> None:
    """Add the documents of another index, or of one of its segments, to INDEX as they are.

    SEGMENT_OR_INDEX has the codec of INDEX: it was built with --codec-from INDEX, on any machine.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.index.plaid.index import PlaidIndex

    plaid = PlaidIndex.load(index)
    with TerminalProgress() as progress:
        n_docs = plaid.attach(source, durable=durable, progress=progress)
    terminal.put(f"{n_docs:,} attached")
    _say(plaid, index)


@command.command("delete")
@click.argument("index", type=PATH)
@click.argument("doc_ids", metavar="[ID]...", nargs=-1)
@click.option("--from-file", type=PATH, help="File of ids, one per line, in place of ID.")
@click.option(
    "--skip-unknown",
    is_flag=True,
    help="Delete the others where an id is not there: completes a delete that failed.",
)
def delete(
    index: Path, doc_ids: tuple[str, ...], from_file: Path | None, skip_unknown: bool
) -> None:
    """Delete documents of INDEX by ID: all of them, or none if one is not there."""
    from colmodern.pipeline.open.artifacts import load_compressed

    ids = ids_to_delete(doc_ids, from_file)
    plaid = load_compressed(index)
    terminal.put(f"{plaid.delete(plaid.known_ids(ids) if skip_unknown else ids):,} deleted")
    _say(plaid, index)


@command.command("compact")
@click.argument("index", type=PATH)
def compact(index: Path) -> None:
    """Merge the segments of INDEX and free the space of deleted documents."""
    from colmodern.cli.progress import TerminalProgress
    from colmodern.pipeline.open.artifacts import load_compressed

    plaid = load_compressed(index)
    with TerminalProgress() as progress:
        plaid.compact(progress=progress)
    _say(plaid, index)


@command.command("check")
@click.argument("index", type=PATH)
def check(index: Path) -> None:
    """Read all of INDEX and compare it with its checksums; the first fault is named."""
    from colmodern.cli.progress import TerminalProgress
    from colmodern.index.bm25.files import is_bm25_index
    from colmodern.index.bm25.index import BM25Index
    from colmodern.pipeline.compressed import compressed_kind

    is_bm25 = is_bm25_index(index)
    kind = BM25Index if is_bm25 else compressed_kind(index)
    with TerminalProgress() as progress:
        kind.check(index, progress=progress)
    terminal.put("nothing is wrong")
    if is_bm25:
        say_bm25(BM25Index.load(index).info(), index)
    else:
        _say(compressed_kind(index).load(index), index)


def _put(
    index: Path,
    embeddings: Path,
    fields: Path | None,
    *,
    replace: bool,
    merge: bool,
    durable: bool,
) -> None:
    from colmodern.cli.progress import TerminalProgress
    from colmodern.pipeline.open.artifacts import load_compressed, store_of

    plaid = load_compressed(index)
    put = plaid.update if replace else plaid.add
    store = store_of(embeddings)
    table = _fields_of(fields, store)
    with TerminalProgress() as progress:
        put(store, fields=table, merge=merge, durable=durable, progress=progress)
    _say(plaid, index)


def _fields_of(path: Path | None, store: EmbeddingStore) -> FieldTable | None:
    """The fields of a store's documents, from a file; None without one."""
    from colmodern.pipeline.open.fields import fields_from_file

    return None if path is None else fields_from_file(path, store.doc_ids)


def _say(plaid: PlaidIndex | ShardedIndex, index: Path) -> None:
    info = plaid.info()
    terminal.put(
        f"{info['documents']:,} documents, {info['tokens']:,} tokens of {info['dim']} dimensions, "
        f"{info['bytes']['total'] / 1e6:,.1f} MB, {info['bytes_per_token']['total']:,.1f} bytes/token"
    )
    terminal.put(index)
