"""colmodern collection create|add|delete|compact|info|check."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, encoder_config, encoder_options, ids_to_delete, json_option
from colmodern.types import PassageRank

if TYPE_CHECKING:
    from colmodern.collection.collection import Collection

_STDIN = "-"
_device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N."
)


@click.group("collection")
def command() -> None:
    """Make, change and inspect a collection: texts, their model and their index in one folder.

    SOURCE is a file of JSON lines with "id", "text" and maybe "title", a tab-separated file of ids
    and texts, a folder with corpus.jsonl, a folder of .md and .txt files, the name of a data set, or
    - for lines on stdin. `colmodern search FOLDER QUERY` searches a collection.
    """


@command.command("create")
@click.argument("folder", type=PATH)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--nbits", type=int, help="Bits per dimension of the index: 1, 2, 4 or 8; default 4.")
@click.option(
    "--spans/--no-spans",
    default=True,
    show_default=True,
    help="Keep the characters of tokens, so that searches show passages.",
)
@click.option(
    "--fields/--no-fields",
    default=True,
    show_default=True,
    help="Keep the other keys of records in the index, to filter searches by.",
)
@click.option(
    "--passages",
    type=click.Choice(get_args(PassageRank)),
    help="Rank documents by their passages, which are the windows of --set overflow=split: by the best "
    "one, or by the sum of all.",
)
@encoder_options
def create(
    folder: Path,
    sources: tuple[str, ...],
    nbits: int | None,
    spans: bool,
    fields: bool,
    passages: PassageRank | None,
    model: str | None,
    revision: str | None,
    device: str,
    dtype: str,
    settings: tuple[str, ...],
) -> None:
    """Make the collection FOLDER, and add the documents of each SOURCE: all of it, or nothing.

    Without --model it has colmodern/tiny, the small model inside colmodern.
    """
    from colmodern.collection.collection import Collection
    from colmodern.collection.creation import withdrawn_on_failure
    from colmodern.encoder.checkpoint.locate import TINY
    from colmodern.pipeline.open.encoder import encoder_from_config

    encoder = encoder_from_config(encoder_config(model or TINY, revision, device, dtype, settings))
    index = None if nbits is None else {"nbits": nbits}
    was_there = folder.is_dir()
    collection = Collection.create(
        folder, encoder, index=index, spans=spans, fields=fields, passages=passages, device=device
    )
    with withdrawn_on_failure(collection.folder, keeps_folder=was_there):
        _put(collection, sources, replaces=False)


@command.command("add")
@click.argument("folder", type=PATH)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--update", is_flag=True, help="Replace documents that have the same ids.")
@_device
def add(folder: Path, sources: tuple[str, ...], update: bool, device: str) -> None:
    """Add the documents of each SOURCE to the collection FOLDER: all of them, or none."""
    from colmodern.collection.collection import Collection

    _put(Collection.open(folder, device=device), sources, replaces=update)


@command.command("delete")
@click.argument("folder", type=PATH)
@click.argument("doc_ids", metavar="[ID]...", nargs=-1)
@click.option("--from-file", type=PATH, help="File of ids, one per line, in place of ID.")
def delete(folder: Path, doc_ids: tuple[str, ...], from_file: Path | None) -> None:
    """Delete documents of FOLDER by ID: all of them, or none if one is not there."""
    from colmodern.collection.collection import Collection

    ids = ids_to_delete(doc_ids, from_file)
    collection = Collection.open(folder, device="cpu")
    terminal.put(f"{collection.delete(ids):,} deleted")
    _say(collection)


@command.command("compact")
@click.argument("folder", type=PATH)
def compact(folder: Path) -> None:
    """Give back the space of deleted documents of FOLDER; results stay the same."""
    from colmodern.cli.progress import TerminalProgress
    from colmodern.collection.collection import Collection

    collection = Collection.open(folder, device="cpu")
    with TerminalProgress() as progress:
        collection.compact(progress=progress)
    _say(collection)


@command.command("info")
@click.argument("folder", type=PATH)
@json_option
def info(folder: Path, as_json: bool) -> None:
    """Describe the collection FOLDER."""
    import yaml

    from colmodern.collection.collection import Collection

    facts = Collection.open(folder, read_only=True, device="cpu").info()
    if as_json:
        terminal.put_json(facts)
    else:
        terminal.put(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).rstrip())


@command.command("check")
@click.argument("folder", type=PATH)
def check(folder: Path) -> None:
    """Read all of FOLDER and compare it with its checksums; the first fault is named."""
    from colmodern.cli.progress import TerminalProgress
    from colmodern.collection.collection import Collection

    collection = Collection.open(folder, read_only=True, device="cpu")
    with TerminalProgress() as progress:
        collection.check(progress=progress)
    terminal.put("nothing is wrong")
    _say(collection)


def _put(collection: Collection, sources: tuple[str, ...], *, replaces: bool) -> None:
    from colmodern.cli.progress import TerminalProgress

    if sources:
        put = collection.update if replaces else collection.add
        with TerminalProgress() as progress:
            put(_documents(sources), progress=progress)
    _say(collection)


def _documents(sources: tuple[str, ...]) -> Iterator[Any]:
    """The documents of all sources, one after another; raises InputError for a source without any."""
    from colmodern.errors import InputError

    for source in sources:
        is_empty = True
        for document in _documents_of(source):
            is_empty = False
            yield document
        if is_empty:
            name = "stdin" if source == _STDIN else source
            raise InputError(f"{name} has no documents; give at least one line, or leave it out")


def _documents_of(source: str) -> Iterator[Any]:
    from colmodern.datasets.load import load_corpus
    from colmodern.datasets.texts import read_stream, read_texts
    from colmodern.errors import InputError
    from colmodern.reading import user_path

    if source == _STDIN:
        return read_stream(sys.stdin.buffer, "stdin")
    path = user_path(source, InputError)
    return read_texts(path) if os.path.lexists(path) else iter(load_corpus(source))


def _say(collection: Collection) -> None:
    info = collection.info()
    terminal.put(
        f"{info['documents']:,} documents with {info['model']}, {info['bytes']['texts'] / 1e6:,.1f} MB "
        f"of texts, {info['bytes']['index'] / 1e6:,.1f} MB of index"
    )
    terminal.put(collection.folder)
