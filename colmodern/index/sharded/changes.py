"""Changes of a sharded index: each document goes to the shard that its id hashes to.

A change of several shards is made in one after another, and embeddings go in chunks. A shard takes what
it gets of a chunk completely or not at all; when one fails, the error says which shards have a part of
the change already, also where that is one of an earlier chunk, and how to complete it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from colmodern.checks import shown
from colmodern.errors import ColmodernError, InputError
from colmodern.index.base import Index
from colmodern.index.fields.inputs import Fields, checked_fields
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.doc_ids import expect_ids
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.plaid.write.source import open_source
from colmodern.index.remote.changes import document_texts, expect_tokens
from colmodern.index.remote.index import RemoteIndex
from colmodern.index.sharded.known import known_ids
from colmodern.index.sharded.placement import ids_by_shard, shards_of
from colmodern.progress import Progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings

_MOST_TOKENS = 1 << 20  # copied into memory at a time
_COMPLETE = "update() with the same documents, or `colmodern index update`, completes it"
_COMPLETE_TEXTS = "update_texts() with the same documents completes it"
_COMPLETE_DELETE = (
    "delete(known_ids(doc_ids)), or `colmodern index delete --skip-unknown`, deletes the rest"
)

Shards = Mapping[str, Index]


class Changeable(Protocol):
    """A shard whose documents can be changed from here."""

    def add(self, embeddings: Embeddings, doc_ids: Sequence[str], **options: Any) -> None:
        """Add documents."""

    def update(self, embeddings: Embeddings, doc_ids: Sequence[str], **options: Any) -> None:
        """Add documents, and replace those with the same ids."""

    def delete(self, doc_ids: Sequence[str], **options: Any) -> int:
        """Delete documents."""


def changeable(shards: Shards) -> list[Changeable]:
    """Shards that can all be changed; raises InputError, which names one that cannot."""
    for name, shard in shards.items():
        if not all(hasattr(shard, method) for method in ("add", "update", "delete")):
            raise _unchangeable(name, shard)
        with _naming(name):
            is_read_only = getattr(shard, "read_only", False)
        if is_read_only:
            raise InputError(
                f"shard {name} is served with read_only; change it where it is, or serve it without"
            )
    return cast(list[Changeable], list(shards.values()))


def local(name: str, shard: Index) -> PlaidIndex:
    """A shard that can be changed here; raises InputError for another kind."""
    if not isinstance(shard, PlaidIndex):
        raise _unchangeable(name, shard)
    return shard


def _unchangeable(name: str, shard: Index) -> InputError:
    return InputError(
        f"shard {name} is of the kind {type(shard).__name__}, which cannot be changed here; change it "
        "where it is"
    )


def put(
    shards: Shards,
    embeddings: Embeddings | Path | str,
    doc_ids: Sequence[str] | None,
    fields: Fields | None,
    progress: Progress,
    *,
    replaces: bool,
    fingerprint: str | None,
    dim: int,
    **options: Any,
) -> None:
    """Add documents to the shards of their ids; with ``replaces``, in place of older ones.

    options: of PlaidIndex; a server chooses its own

    Raises InputError, before anything is changed, for ids that repeat or, without ``replaces``, are
    known; for embeddings of another dim or encoder; and for documents without tokens that belong to a
    server.
    """
    source, ids = open_source(embeddings, doc_ids)
    if doc_ids is None and isinstance(source, TokenEmbeddings):
        raise InputError("doc_ids is missing; pass one new id per document")
    if source.n_docs and source.dim != dim:
        raise InputError(f"embeddings have dim={source.dim}, the index has dim={dim}")
    expect_encoder(source.fingerprint, fingerprint)
    expect_ids(ids)
    table = checked_fields(fields, ids)
    numbers, names = shards_of(ids, len(shards)), list(shards)
    changed = changeable(shards)
    of_servers = np.array([isinstance(shard, RemoteIndex) for shard in changed])[numbers]
    expect_tokens(source.lengths[of_servers], [ids[i] for i in np.flatnonzero(of_servers).tolist()])
    if not replaces:
        _expect_new(shards, ids)
    progress.start("change shards", source.n_docs, unit="documents")
    done: list[str] = []
    for first, chunk in source.chunks(_MOST_TOKENS):
        own = numbers[first : first + chunk.n_docs]
        for number in np.unique(own).tolist():
            docs = np.flatnonzero(own == number)
            shard, where = changed[number], docs + first
            change = shard.update if replaces else shard.add
            more = {"fields": table.select(where)} if table.columns else {}
            more |= options if isinstance(shard, PlaidIndex) else {}
            part: Embeddings = chunk.select(docs)
            _change(
                names[number],
                done,
                lambda change=change, part=part, where=where, more=more: change(  # type: ignore[misc]
                    part, [ids[i] for i in where.tolist()], **more
                ),
                _COMPLETE,
            )
            progress.advance(len(docs))
    progress.finish()


def delete(shards: Shards, doc_ids: object, **options: object) -> int:
    """Delete documents; returns how many.

    options: of PlaidIndex; a server chooses its own

    Raises InputError, and deletes none, when an id is in no shard.
    """
    ids = list(dict.fromkeys(id_list("doc_ids", doc_ids, is_ordered=False)))
    changed = dict(zip(shards, changeable(shards), strict=True))
    by_shard = {name: own for name, own in ids_by_shard(ids, shards).items() if own}
    for name, own in by_shard.items():
        with _naming(name):
            known = set(known_ids(shards[name], own))
        if lacking := [doc_id for doc_id in own if doc_id not in known]:
            raise InputError(f"document {shown(lacking[0])} is not in the index; leave its id out")
    done: list[str] = []
    for name, own in by_shard.items():
        shard = changed[name]
        more: Mapping[str, Any] = options if isinstance(shard, PlaidIndex) else {}
        _change(name, done, partial(shard.delete, own, **more), _COMPLETE_DELETE)
    return len(ids)


def put_texts(
    shards: Shards,
    texts: Sequence[str],
    doc_ids: Sequence[str],
    titles: Sequence[str] | None,
    fields: Fields | None,
    *,
    replaces: bool,
) -> None:
    """Add documents by their texts to the shards of their ids, which servers have; as ``put``."""
    method = "update_texts" if replaces else "add_texts"
    changeable(shards)
    for name, shard in shards.items():
        if not hasattr(shard, method):
            raise InputError(
                f"shard {name} is of the kind {type(shard).__name__}, which takes no texts; encode them, and "
                "pass the embeddings to add or update"
            )
    documents = document_texts(texts, doc_ids, titles, fields)
    numbers, done = shards_of(documents.ids, len(shards)), list[str]()
    if not replaces:
        _expect_new(shards, documents.ids)
    for number, (name, shard) in enumerate(shards.items()):
        where = np.flatnonzero(numbers == number)
        if not len(where):
            continue
        ids, own, heads = ([column[i] for i in where] for column in documents[:3])
        table = documents.fields.select(where) if documents.fields.columns else None
        change = partial(getattr(shard, method), own, ids, titles=heads, fields=table)
        _change(name, done, change, _COMPLETE_TEXTS)


def _expect_new(shards: Shards, ids: Sequence[str]) -> None:
    """Raise InputError for a document that its shard has."""
    for name, own in ids_by_shard(ids, shards).items():
        with _naming(name):
            known = known_ids(shards[name], own) if own else []
        if known:
            raise InputError(
                f"document {shown(known[0])} is in shard {name} already; use update(), or in the shell "
                "`colmodern index update`"
            )


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors of a shard in the block say its name."""
    try:
        yield
    except ColmodernError as error:
        raise type(error)(f"shard {name}: {error}") from error


def _change(name: str, done: list[str], change: Callable[[], object], cure: str) -> None:
    """Change one shard; an error says which shards have a part of the change already, and the cure."""
    try:
        change()
    except ColmodernError as error:
        changed = list(dict.fromkeys(done))
        have = "has" if len(changed) == 1 else "have"
        made = (
            f"; {', '.join(changed)} {have} a part of the change already: {cure}" if changed else ""
        )
        raise type(error)(f"shard {name}: {error}{made}") from error
    done.append(name)
