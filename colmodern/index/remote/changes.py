"""Changes of an index of another machine: documents as the requests that carry them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.arguments import listed
from colmodern.checks import shown
from colmodern.errors import ColmodernError, InputError
from colmodern.index.fields.inputs import Fields, checked_fields
from colmodern.index.fields.table import FieldTable
from colmodern.index.inputs import Embeddings, expect_dim
from colmodern.index.plaid.disk.doc_ids import expect_ids
from colmodern.index.plaid.write.source import open_source
from colmodern.index.remote.http_client import HttpClient
from colmodern.index.remote.reader import rows_as_json
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings

Record = dict[str, Any]

# a request has less than servers take without other settings: 8 MB and 1,000 documents
_DOCUMENTS = 500
_VALUES = 1 << 20  # numbers of embeddings, which take 5.6 MB in base64
_CHARACTERS = 1 << 20  # characters of texts


def records_of_embeddings(
    embeddings: Embeddings | Path | str,
    doc_ids: Sequence[str] | None,
    fields: Fields | None,
    dim: int,
) -> tuple[str | None, Iterator[list[Record]]]:
    """The fingerprint of embeddings, and their documents in the lists that requests carry.

    Raises:
        InputError: An id is missing or repeats, another dim, or a document without tokens.
    """
    source, ids = open_source(embeddings, doc_ids)
    if doc_ids is None and isinstance(source, TokenEmbeddings):
        raise InputError("doc_ids is missing; pass one id per document")
    expect_ids(ids)
    if source.n_docs:
        expect_dim("embeddings", source.dim, dim)
        expect_tokens(source.lengths, ids)
    table = checked_fields(fields, ids)

    def requests() -> Iterator[list[Record]]:
        for first, chunk in source.chunks(max(1, _VALUES // dim)):
            records = [
                {
                    "id": ids[first + i],
                    "embedding": rows_as_json(chunk[i], dim),
                    "fields": _fields_of(table, first + i),
                }
                for i in range(chunk.n_docs)
            ]
            for start in range(0, len(records), _DOCUMENTS):
                yield records[start : start + _DOCUMENTS]

    return source.fingerprint, requests()


def expect_tokens(lengths: npt.NDArray[np.integer], ids: Sequence[str]) -> None:
    """Raise InputError for a document without tokens; lengths: (n_docs,) tokens of each."""
    if not lengths.all():
        empty = ids[int(np.flatnonzero(lengths == 0)[0])]
        raise InputError(
            f"document {shown(empty)} has no tokens, which a server does not take; leave it out"
        )


class DocumentTexts(NamedTuple):
    """Texts of documents that fit together.

    Attributes:
        ids: Id of each document.
        texts: Text of each.
        titles: Title of each, empty without one.
        fields: Their fields.
    """

    ids: list[str]
    texts: list[str]
    titles: list[str]
    fields: FieldTable


def document_texts(
    texts: Sequence[str],
    doc_ids: Sequence[str],
    titles: Sequence[str] | None,
    fields: Fields | None,
) -> DocumentTexts:
    """Texts, ids, titles and fields of documents; raises InputError where they do not fit together."""
    read = _listed_texts("texts", texts)
    ids = id_list("doc_ids", doc_ids, is_ordered=True)
    heads = [""] * len(read) if titles is None else _listed_texts("titles", titles)
    for name, values in (("doc_ids", ids), ("titles", heads)):
        if len(values) != len(read):
            raise InputError(
                f"{name} has {len(values)} entries for {len(read)} texts; pass one for each text"
            )
    expect_ids(ids)
    return DocumentTexts(ids, read, heads, checked_fields(fields, ids))


def records_of_texts(documents: DocumentTexts) -> Iterator[list[Record]]:
    """Texts in the lists that requests carry."""
    records: list[Record] = []
    n_characters = 0
    for i, (doc_id, text, title) in enumerate(zip(*documents[:3], strict=True)):
        length = len(title) + len(text)
        if records and (n_characters + length > _CHARACTERS or len(records) == _DOCUMENTS):
            yield records
            records, n_characters = [], 0
        fields = _fields_of(documents.fields, i)
        records.append({"id": doc_id, "title": title, "text": text, "fields": fields})
        n_characters += length
    if records:
        yield records


def put(
    client: HttpClient,
    path: str,
    requests: Iterable[list[Record]],
    *,
    replaces: bool,
    timeout_s: float | None,
    fingerprint: str | None = None,
) -> None:
    """Send documents; where a request fails, the error says how many are in the index already."""
    body = {"replace": replaces, "fingerprint": fingerprint}
    n_done = 0
    for documents in requests:
        with _counting(
            n_done, "have the change already: update() with the same documents completes it"
        ):
            client.send("PUT", path, {**body, "documents": documents}, timeout_s=timeout_s)
        n_done += len(documents)


def _fields_of(table: FieldTable, doc: int) -> Record:
    """The fields of a document; of one value as it is, of several as a list."""
    named = {field: table.values_of(field, doc) for field in table.schema}
    return {
        field: values[0] if len(values) == 1 else values
        for field, values in named.items()
        if values
    }


def _listed_texts(name: str, values: object) -> list[str]:
    """A list of texts; raises InputError for anything else."""
    texts = listed(name, values, "pass a list of texts")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{name}[{position}] is {shown(text)}; pass a text")
    return texts


def lists_of_ids(ids: list[str]) -> list[list[str]]:
    """Ids in the lists that requests carry."""
    return [ids[start : start + _DOCUMENTS] for start in range(0, len(ids), _DOCUMENTS)]


def expect_all_known(ids: list[str], known: list[str]) -> None:
    """Raise InputError for the first id that is not among those of the index."""
    if len(known) < len(ids):
        has = set(known)
        unknown = next(doc_id for doc_id in ids if doc_id not in has)
        raise InputError(f"document {shown(unknown)} is not in the index; leave its id out")


def delete(
    client: HttpClient, path: str, requests: Iterable[list[str]], *, timeout_s: float | None
) -> None:
    """Delete documents; where a request fails, the error says how many are deleted already."""
    n_done = 0
    for ids in requests:
        with _counting(n_done, "are deleted already: delete() of the known_ids() completes it"):
            client.send("DELETE", path, {"ids": ids}, timeout_s=timeout_s)
        n_done += len(ids)


@contextmanager
def _counting(n_done: int, state: str) -> Iterator[None]:
    """Add to an error what has happened to the documents of earlier requests."""
    try:
        yield
    except ColmodernError as error:
        if not n_done:
            raise
        raise type(error)(f"{error}; the {n_done:,} documents before {state}") from error
