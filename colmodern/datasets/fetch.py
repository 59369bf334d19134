"""Fetching of data sets into the layout of local collections, with a checksummed manifest.

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
from colmodern.datasets import irds
from colmodern.datasets.corpus import FileCorpus
from colmodern.datasets.hashed_ids import HashedIds
from colmodern.datasets.hub import Row, Subset, read_rows
from colmodern.datasets.own_sets import LocalSet
from colmodern.datasets.registry import IR_DATASETS, NamedSet
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
    """The fields of a fetched set's manifest that are read."""

    model_config = ConfigDict(strict=True)

    source: str
    documents: int = Field(ge=0)
    judged_queries_left_out: int = Field(ge=0)
    judgments_of_unknown_documents: int = Field(ge=0)
    files: dict[str, _FileFacts]


def set_folder(named_set: NamedSet, split: str) -> Path:
    """The folder of a set once it is fetched."""
    name = named_set.name.replace("/", "--").replace(":", "--")
    return user_cache() / "datasets" / f"{name}-{split}-{named_set.revision[:12]}"


def fetch(
    named_set: NamedSet,
    *,
    split: str | None = None,
    source: Path | None = None,
    again: bool = False,
    progress: Progress | bool | None = None,
) -> Path:
    """Fetch a set unless it is there, and return its folder.

    The rows are streamed: neither the corpus nor a copy of the repository is kept elsewhere. An
    interrupted fetch leaves nothing and starts over.

    Args:
        named_set: the set.
        split: split of judgments; default: the set's usual one.
        source: a folder with the files of the set's repository, instead of the hub.
        again: replace a set that was fetched before.
        progress: as for ``as_progress``.

    Raises:
        DataError: the source cannot be read.
        StorageError: the set cannot be written, or the one that is there is damaged.
    """
    progress = as_progress(progress)
    split = checked_split(named_set, split)
    folder = set_folder(named_set, split)
    if folder.is_dir() and not again:
        verify(named_set, split)
        return folder
    origin = None if source is None else str(source.resolve())
    if named_set.layout == "ir_datasets":
        if origin is not None:
            raise DataError(
                f"{named_set.name} comes from ir_datasets, which keeps its files itself; leave --from out"
            )
        origin = f"{IR_DATASETS} {irds.version()}"
    fresh = folder.with_name(f"{folder.name}.new")
    with naming_write_errors(fresh):
        remove(fresh)  # removes a link, not what it points to
    with staging(fresh) as staged:
        counts = _write(staged, named_set, split, origin, progress)
        manifest = {
            "format": "colmodern-dataset",
            "version": _VERSION,
            "name": named_set.name,
            "split": split,
            "repo": named_set.repo,
            "revision": named_set.revision,
            "license": named_set.license,
            "source": storable(origin or "hub"),
            **counts,
            "files": {name: _facts(staged / name) for name in _names(split)},
        }
        write_json(staged / MANIFEST, manifest)
    with naming_write_errors(folder):
        remove(folder)
        rename(fresh, folder)
    return folder


def verify(named_set: NamedSet, split: str) -> dict[str, Any]:
    """The manifest of a fetched set, after comparing every file with its checksum.

    Raises:
        DataError: the set is missing; names the command that fetches it.
        StorageError: the set is damaged.
    """
    folder = set_folder(named_set, split)
    command = named_set.fetch_command(split)
    if not folder.is_dir():
        raise DataError(
            f"data set {named_set.name} (split {split}) is not on this machine; fetch it once, then it "
            f"is used offline: {command}"
        )
    cure = f"fetch it again with: {command} --again"
    manifest = read_json_object(folder / MANIFEST, StorageError, cure=cure)
    if manifest.get("version") != _VERSION:
        raise StorageError(
            f"{folder} is of version {shown(manifest.get('version'))}, not {_VERSION}; {cure}"
        )
    if manifest.get("repo") != named_set.repo:
        raise DataError(
            f"{folder} is of {shown(manifest.get('repo'))}, and {named_set.name} is now "
            f"{named_set.repo}; {cure}"
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


def checked_split(named_set: NamedSet | LocalSet, split: str | None) -> str:
    """The split, or the set's usual one for None.

    Raises:
        DataError: the set has no such split.
    """
    if split is None:
        return named_set.splits[0]
    if split not in named_set.splits:
        raise DataError(
            f"{named_set.name} has no split {split!r}; it has {', '.join(named_set.splits)}"
        )
    return split


def _names(split: str) -> tuple[str, str, str]:
    return "corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"


def _facts(path: Path) -> dict[str, object]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _write(
    folder: Path, named_set: NamedSet, split: str, origin: str | None, progress: Progress
) -> dict[str, int]:
    """Write the three files and return their counts; the small files are checked first."""

    def read(subset: Subset) -> Iterator[Row]:
        return _counted(
            read_rows(named_set, subset, split, origin), f"{named_set.name} {subset}", progress
        )

    judged = list(read("qrels"))
    wanted = {row["query-id"] for row in judged}
    queries = {row["_id"]: row for row in read("queries") if row["_id"] in wanted}
    queries = {query_id: row for query_id, row in queries.items() if row["text"].strip()}
    kept = [row for row in judged if row["query-id"] in queries]
    if not kept:
        raise DataError(f"{named_set.name}: no judgment of split {split} belongs to a query")
    corpus, topics, qrels = (folder / name for name in _names(split))
    write_text(topics, "".join(_line(row) for row in queries.values()))
    grades = [f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}\n" for row in kept]
    write_text(qrels, "query-id\tcorpus-id\tscore\n" + "".join(grades))
    doc_ids, n_empty = _write_corpus(corpus, read("corpus"))
    n_unknown = sum(row["corpus-id"] not in doc_ids for row in kept)
    if 2 * n_unknown > len(kept):
        raise DataError(
            f"{named_set.name}: the corpus lacks {n_unknown} of {len(kept)} judged documents of split "
            f"{split}; judgments and corpus do not belong together"
        )
    return {
        "documents": len(doc_ids),
        "documents_without_text": n_empty,
        "queries": len(queries),
        "judged_queries_left_out": len(wanted) - len(queries),  # no such query, or no text
        "judgments": len(kept),
        "judgments_of_unknown_documents": n_unknown,
    }


def _write_corpus(path: Path, records: Iterator[Row]) -> tuple[HashedIds, int]:
    doc_ids, n_empty = HashedIds(), 0
    with path.open("w", encoding="utf-8") as stream:
        for row in records:
            doc_ids.add(row["_id"])
            n_empty += not row["text"].strip()
            stream.write(_line(row))
    FileCorpus(path)  # checks the file
    return doc_ids, n_empty


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _counted(records: Iterator[Row], task: str, progress: Progress) -> Iterator[Row]:
    progress.start(task, 0, unit="rows")  # 0: their number is unknown
    n_rows = 0
    for row in records:
        yield row
        n_rows += 1
        if n_rows % _ROWS_A_STEP == 0:
            progress.advance(_ROWS_A_STEP)
    progress.advance(n_rows % _ROWS_A_STEP)
    progress.finish()
