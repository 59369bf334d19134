"""Collections in the BEIR layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colmodern.errors import DataError
from colmodern.files import read_text
from colmodern.types import Dataset, Document


class JsonlCorpus:
    """Documents of a corpus.jsonl, read from disk at each iteration.

    The file is checked once, when opened. Raises DataError that names the line of a document
    without an id, with an id that was there before, or that is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        digest = hashlib.sha256()
        seen: dict[str, int] = {}
        for number, record in read_jsonl(path, digest):
            doc_id = text_field(record, "_id", path, number)
            if doc_id in seen:
                raise DataError(
                    f"{path}:{number}: document id {doc_id!r} is already on line {seen[doc_id]}; "
                    "give every document its own id"
                )
            seen[doc_id] = number
            text_field(record, "text", path, number)
        if not seen:
            raise DataError(f"{path} has no documents; give at least one line")
        self.doc_ids = seen.keys()
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.doc_ids)

    def __iter__(self) -> Iterator[Document]:
        for number, record in read_jsonl(self._path):
            yield Document(
                text_field(record, "_id", self._path, number),
                text_field(record, "text", self._path, number),
                str(record.get("title") or ""),
            )


def load_beir(folder: Path | str, *, split: str = "test", name: str | None = None) -> Dataset:
    """Read and check a local collection.

    split: which file of qrels/ has the judgments; queries it does not judge are left out
    name: what results call the collection; default the folder's name

    Raises DataError that names the file, the line and the fault.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give one with corpus.jsonl, queries.jsonl and qrels/")
    corpus = JsonlCorpus(folder / "corpus.jsonl")
    queries = read_queries(folder / "queries.jsonl")
    qrels = _read_qrels(folder / "qrels", split, queries, corpus)
    return Dataset(
        name=name or folder.resolve().name,
        description=f"local collection {folder}, judgments of qrels/{split}.tsv",
        corpus=corpus,
        queries={query_id: queries[query_id] for query_id in queries if query_id in qrels},
        qrels=qrels,
    )


def read_queries(path: Path) -> dict[str, str]:
    """Query texts by id, in the order of the file.

    Raises DataError for a query without text, without id, or with an id that was there before.
    """
    queries: dict[str, str] = {}
    for number, record in read_jsonl(path):
        query_id = text_field(record, "_id", path, number)
        if query_id in queries:
            raise DataError(
                f"{path}:{number}: query id {query_id!r} was there before; make ids unique"
            )
        queries[query_id] = text_field(record, "text", path, number)
        if not queries[query_id].strip():
            raise DataError(
                f"{path}:{number}: query {query_id!r} has no text; remove it or give it some"
            )
    return queries


def read_jsonl(path: Path, digest: Any = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank; ``digest`` is fed the bytes.

    Raises DataError for a missing file or a line that is not a JSON object.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if digest is not None:
                digest.update(line)
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number}: not valid JSON ({error}); mend or remove the line"
                ) from error
            if not isinstance(record, dict):
                raise DataError(f"{path}:{number}: not a JSON object; write {{...}} on every line")
            yield number, record


def text_field(record: dict[str, Any], name: str, path: Path, number: int) -> str:
    """A field as text; "id" stands in for "_id", as some hubs write it."""
    value = record.get(name, record.get("id") if name == "_id" else None)
    if isinstance(value, int) and name == "_id":
        value = str(value)
    if not isinstance(value, str) or (name == "_id" and not value):
        raise DataError(f"{path}:{number}: field {name!r} is {value!r}; it must be text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}:{number}: field {name!r} has half of a surrogate pair ({error}); mend the text"
        ) from error
    if name == "_id" and any(letter.isspace() for letter in value):
        raise DataError(
            f"{path}:{number}: id {value!r} has white space, which TREC files cannot hold; "
            "rename it here and in the judgments"
        )
    return value


def _read_qrels(
    folder: Path, split: str, queries: dict[str, str], corpus: JsonlCorpus
) -> dict[str, dict[str, int]]:
    path = folder / f"{split}.tsv"
    if not path.is_file():
        splits = ", ".join(sorted(file.stem for file in folder.glob("*.tsv"))) or "none"
        raise DataError(f"no judgments {path}; splits in {folder}: {splits}")
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_text(path, DataError).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if number == 1 and len(fields) == 3 and not fields[2].strip().lstrip("-").isdigit():
            continue  # the header
        try:
            query_id, doc_id, grade = fields[0], fields[1], int(fields[2])
            if len(fields) != 3:
                raise ValueError(f"{len(fields)} fields")
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{path}:{number}: {line!r} is not query-id, corpus-id and a whole score between tabs"
            ) from error
        if query_id not in queries:
            raise DataError(
                f"{path}:{number}: judges query {query_id!r}, which queries.jsonl lacks"
            )
        if doc_id not in corpus.doc_ids:
            raise DataError(
                f"{path}:{number}: judges document {doc_id!r}, which corpus.jsonl lacks"
            )
        if qrels.setdefault(query_id, {}).setdefault(doc_id, grade) != grade:
            raise DataError(
                f"{path}:{number}: query {query_id!r} and document {doc_id!r} were judged "
                f"{qrels[query_id][doc_id]} before and {grade} here; keep one"
            )
    if not qrels:
        raise DataError(f"{path} has no judgments; give at least one line")
    return qrels
