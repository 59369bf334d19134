"""Fetching a set once, into the layout of local collections, under a checksummed manifest.

A fetched set is the folder CACHE/datasets/NAME-SPLIT-REVISION with corpus.jsonl, queries.jsonl,
qrels/SPLIT.tsv and manifest.json. It is made under another name and renamed when it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from colmodern.checks import shown, storable
from colmodern.datasets.corpus import FileCorpus
from colmodern.datasets.hashed_ids import HashedIds
from colmodern.datasets.hub import Part, Row, read_rows
from colmodern.datasets.registry import NamedSet
from colmodern.disk import remove, rename
from colmodern.errors import DataError, StorageError
from colmodern.files import (
    naming_write_errors,
    read_json_object,
    sha256_of_file,
    staging,
    user_cache,
    write_json,
    write_text,
)
from colmodern.progress import Progress, as_progress

MANIFEST = "manifest.json"
_VERSION = 1
_ROWS_A_STEP = 1000


class _FileFacts(BaseModel):
    bytes: int
    sha256: str


class _Manifest(BaseModel):
    """What is read of a fetched set's manifest."""

    model_config = ConfigDict(strict=True)

    source: str
    documents: int = Field(ge=0)
    judged_queries_left_out: int = Field(ge=0)
    judgments_of_unknown_documents: int = Field(ge=0)
    files: dict[str, _FileFacts]


def set_folder(found: NamedSet, split: str) -> Path:
    """Where a set lies once it is fetched."""
    name = found.name.replace("/", "--")
    return user_cache() / "datasets" / f"{name}-{split}-{found.revision[:12]}"


def fetch_command(found: NamedSet, split: str) -> str:
    """The command that fetches a set."""
    return f"colmodern fetch {found.name}" + (
        f" --split {split}" if split != found.splits[0] else ""
    )


def fetch(
    found: NamedSet,
    *,
    split: str | None = None,
    source: Path | None = None,
    again: bool = False,
    progress: Progress | bool | None = None,
) -> Path:
    """Fetch a set unless it is there, and return its folder.

    split: which judgments; default the set's usual ones
    source: a folder with the files of the set's repository, instead of the hub
    again: replace what is there

    The rows are streamed: neither the corpus nor a copy of the repository is kept elsewhere. An
    interrupted set starts anew, and leaves nothing. Raises DataError when it cannot be read,
    StorageError when it cannot be written, or when what is there is damaged.
    """
    progress = as_progress(progress)
    split = checked_split(found, split)
    folder = set_folder(found, split)
    if folder.is_dir() and not again:
        verify(found, split)
        return folder
    origin = None if source is None else str(source.resolve())
    fresh = folder.with_name(f"{folder.name}.new")
    with naming_write_errors(fresh):
        remove(fresh)  # where it is a link, the link
    with staging(fresh) as staged:
        counts = _write(staged, found, split, origin, progress)
        manifest = {
            "format": "colmodern-dataset",
            "version": _VERSION,
            "name": found.name,
            "split": split,
            "repo": found.repo,
            "revision": found.revision,
            "license": found.license,
            "source": storable(origin or "hub"),
            **counts,
            "files": {name: _facts(staged / name) for name in _names(split)},
        }
        write_json(staged / MANIFEST, manifest)
    with naming_write_errors(folder):
        remove(folder)
        rename(fresh, folder)
    return folder


def verify(found: NamedSet, split: str) -> dict[str, Any]:
    """The manifest of a fetched set, after comparing every file with its checksum.

    Raises DataError that names the command to fetch a set that is missing, StorageError for one
    that is damaged.
    """
    folder = set_folder(found, split)
    command = fetch_command(found, split)
    if not folder.is_dir():
        raise DataError(
            f"data set {found.name} (split {split}) is not on this machine; fetch it once, then it "
            f"is used offline: {command}"
        )
    cure = f"fetch it again with: {command} --again"
    manifest = read_json_object(folder / MANIFEST, StorageError, cure=cure)
    if manifest.get("version") != _VERSION:
        raise StorageError(
            f"{folder} is of version {shown(manifest.get('version'))}, not {_VERSION}; {cure}"
        )
    try:
        checked = _Manifest.model_validate(manifest)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise StorageError(f"{folder / MANIFEST}: {field}: {fault['msg']}; {cure}") from error
    for name in _names(split):
        path, facts = folder / name, checked.files.get(name)
        if facts is None:
            raise StorageError(f"{folder / MANIFEST}: files: {name} is missing; {cure}")
        if not path.is_file() or path.stat().st_size != facts.bytes:
            raise StorageError(f"{path} is missing or cut short; {cure}")
        if sha256_of_file(path) != facts.sha256:
            raise StorageError(f"{path} differs from its checksum; {cure}")
    return manifest


def checked_split(found: NamedSet, split: str | None) -> str:
    """The split, or the set's usual one.

    Raises DataError for one that the set does not have.
    """
    if split is None:
        return found.splits[0]
    if split not in found.splits:
        raise DataError(f"{found.name} has no split {split!r}; it has {', '.join(found.splits)}")
    return split


def _names(split: str) -> tuple[str, str, str]:
    return "corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _write(
    folder: Path, found: NamedSet, split: str, origin: str | None, progress: Progress
) -> dict[str, int]:
    """Write the three files and return what they hold; a fault in the small ones is seen first."""

    def rows(part: Part) -> Iterator[Row]:
        return _counted(read_rows(found, part, split, origin), f"{found.name} {part}", progress)

    judged = list(rows("qrels"))
    wanted = {row["query-id"] for row in judged}
    queries = {row["_id"]: row for row in rows("queries") if row["_id"] in wanted}
    queries = {query_id: row for query_id, row in queries.items() if row["text"].strip()}
    kept = [row for row in judged if row["query-id"] in queries]
    if not kept:
        raise DataError(f"{found.name}: none of the judgments of split {split} is of a query")
    corpus, topics, qrels = (folder / name for name in _names(split))
    write_text(topics, "".join(_line(row) for row in queries.values()))
    grades = [f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}\n" for row in kept]
    write_text(qrels, "query-id\tcorpus-id\tscore\n" + "".join(grades))
    doc_ids, n_empty = _write_corpus(corpus, rows("corpus"))
    n_unknown = sum(row["corpus-id"] not in doc_ids for row in kept)
    if 2 * n_unknown > len(kept):
        raise DataError(
            f"{found.name}: the corpus lacks {n_unknown} of {len(kept)} judged documents of split "
            f"{split}; judgments and corpus are not of each other"
        )
    return {
        "documents": len(doc_ids),
        "documents_without_text": n_empty,
        "queries": len(queries),
        "judged_queries_left_out": len(wanted) - len(queries),  # no such query, or no text
        "judgments": len(kept),
        "judgments_of_unknown_documents": n_unknown,
    }


def _write_corpus(path: Path, rows: Iterator[Row]) -> tuple[HashedIds, int]:
    doc_ids, n_empty = HashedIds(), 0
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            doc_ids.add(row["_id"])
            n_empty += not row["text"].strip()
            stream.write(_line(row))
    FileCorpus(path)  # the one place that knows what a corpus must be
    return doc_ids, n_empty


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _counted(rows: Iterator[Row], task: str, progress: Progress) -> Iterator[Row]:
    progress.start(task, 0, unit="rows")  # nobody knows how many
    n_rows = 0
    for row in rows:
        yield row
        n_rows += 1
        if n_rows % _ROWS_A_STEP == 0:
            progress.advance(_ROWS_A_STEP)
    progress.advance(n_rows % _ROWS_A_STEP)
    progress.finish()
