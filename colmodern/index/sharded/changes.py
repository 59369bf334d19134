"""Changes of a sharded index: each document goes to the shard that its id hashes to.

A change of several shards is made in one after another. Each of them makes it completely or not at
all; when one fails, the error says which shards have it already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from colmodern.index.sharded.placement import shards_of
from colmodern.progress import Progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings

_MOST_TOKENS = 1 << 20  # copied into memory at a time

Shards = Mapping[str, Index]


def local(name: str, shard: Index) -> PlaidIndex:
    """A shard that can be changed here; raises InputError for another kind."""
    if not isinstance(shard, PlaidIndex):
        raise InputError(
            f"shard {name} is of the kind {type(shard).__name__}, which cannot be changed here; change it "
            "where it is"
        )
    return shard


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

    Raises InputError, before anything is changed, for ids that repeat or, without ``replaces``, are
    known; and for embeddings of another dim or encoder.
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
    changed = [local(name, shards[name]) for name in names]
    if not replaces:
        known = next((i for i, n in zip(ids, numbers, strict=True) if i in changed[n]), None)
        if known is not None:
            raise InputError(
                f"document {shown(known)} is in shard {names[shards_of([known], len(names))[0]]} "
                "already; use update(), or in the shell `colmodern index update`"
            )
    progress.start("change shards", source.n_docs, unit="documents")
    done: list[str] = []
    for first, chunk in source.chunks(_MOST_TOKENS):
        own = numbers[first : first + chunk.n_docs]
        for number in np.unique(own).tolist():
            docs = np.flatnonzero(own == number)
            shard, where = changed[number], docs + first
            change = shard.update if replaces else shard.add
            with_fields = {"fields": table.select(where)} if table.columns else {}
            part: Embeddings = chunk.select(docs)
            _change(
                names[number],
                done,
                lambda change=change, part=part, where=where, more=with_fields: change(  # type: ignore[misc]
                    part, [ids[i] for i in where.tolist()], **more, **options
                ),
            )
            progress.advance(len(docs))
    progress.finish()


def delete(shards: Shards, doc_ids: object, **options: object) -> int:
    """Delete documents; returns how many.

    Raises InputError, and deletes none, when an id is in no shard.
    """
    ids = list(dict.fromkeys(id_list("doc_ids", doc_ids, is_ordered=False)))
    numbers, names = shards_of(ids, len(shards)), list(shards)
    changed = [local(name, shards[name]) for name in names]
    for doc_id, number in zip(ids, numbers.tolist(), strict=True):
        if doc_id not in changed[number]:
            raise InputError(f"document {shown(doc_id)} is not in the index; leave its id out")
    done: list[str] = []
    for number in np.unique(numbers).tolist():
        own = [ids[i] for i in np.flatnonzero(numbers == number).tolist()]
        shard = changed[number]
        _change(names[number], done, lambda shard=shard, own=own: shard.delete(own, **options))  # type: ignore[misc]
    return len(ids)


def _change(name: str, done: list[str], change: Callable[[], object]) -> None:
    """Change one shard; an error says which others are changed already."""
    try:
        change()
    except ColmodernError as error:
        others = [other for other in dict.fromkeys(done) if other != name]
        made = (
            f"; {', '.join(others)} {'has' if len(others) == 1 else 'have'} the change already"
            if others
            else ""
        )
        raise type(error)(f"shard {name}: {error}{made}") from error
    done.append(name)
