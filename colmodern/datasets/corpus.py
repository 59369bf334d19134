"""Corpora that are read from disk at each iteration and never held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from colmodern.datasets.hashed_ids import HashedIds, is_one_of
from colmodern.datasets.records import id_field, read_records, text_field
from colmodern.errors import DataError
from colmodern.files import sha256_of_json
from colmodern.types import Corpus, Document


class FileCorpus:
    """Documents of a corpus.jsonl, or of any file that ``read_records`` reads.

    The file is checked once, when opened; eight bytes for each id stay in memory.

    Raises:
        DataError: a document is malformed, has no id or a repeated one; names the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        digest = hashlib.sha256()
        self.doc_ids = HashedIds()
        for number, record in read_records(path, digest):
            self.doc_ids.add(id_field(record, path, number))
            text_field(record, path, number)
            text_field(record, path, number, "title")
        if not len(self.doc_ids):
            raise DataError(f"{path} has no documents; give at least one line")
        if repeated := self.doc_ids.repeated():
            _find_repetition(path, repeated)
        self.fingerprint = digest.hexdigest()

    def __repr__(self) -> str:
        return f"FileCorpus({str(self._path)!r}, n_docs={len(self)})"

    def __len__(self) -> int:
        return len(self.doc_ids)

    def __iter__(self) -> Iterator[Document]:
        return read_documents(self._path)


class FetchedCorpus:
    """Documents of a file that was checked when it was written and still has its checksum."""

    def __init__(self, path: Path, *, n_docs: int, fingerprint: str) -> None:
        self._path = path
        self._n_docs = n_docs
        self.fingerprint = fingerprint

    def __repr__(self) -> str:
        return f"FetchedCorpus({str(self._path)!r}, n_docs={len(self)})"

    def __len__(self) -> int:
        return self._n_docs

    def __iter__(self) -> Iterator[Document]:
        return read_documents(self._path)


class DocumentsWithText:
    """A corpus without the documents whose text, title aside, is empty or white space."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._n_docs = sum(1 for _ in self)
        self.fingerprint = sha256_of_json(["with text", corpus.fingerprint])

    def __repr__(self) -> str:
        return f"DocumentsWithText({self._corpus!r}, n_docs={len(self)})"

    def __len__(self) -> int:
        return self._n_docs

    def __iter__(self) -> Iterator[Document]:
        return (document for document in self._corpus if document.text.strip())


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file, in its order."""
    for number, record in read_records(path):
        yield Document(
            id_field(record, path, number),
            text_field(record, path, number),
            text_field(record, path, number, "title"),
        )


def _find_repetition(path: Path, suspects: set[int]) -> None:
    """Raise DataError for the first repeated id; an equal digest may belong to another id."""
    lines: dict[str, int] = {}
    for number, record in read_records(path):
        doc_id = id_field(record, path, number)
        if not is_one_of(doc_id, suspects):
            continue
        if doc_id in lines:
            raise DataError(
                f"{path}:{number}: document id {doc_id!r} is already on line {lines[doc_id]}; "
                "give every document its own id"
            )
        lines[doc_id] = number
