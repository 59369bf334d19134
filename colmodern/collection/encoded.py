"""Embeddings of a collection's documents, in memory or in a temporary store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from colmodern.collection.documents import StoredDocument, encoded_text
from colmodern.disk import remove
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import encode_passages
from colmodern.encoding.store import encode_to_store
from colmodern.index.inputs import Embeddings
from colmodern.progress import Progress

FOLDER = ".embeddings"  # beside the index that is built of it
_IN_MEMORY = 64  # documents; of more, embeddings are written to disk shard by shard
_SHARD_TOKENS = 1 << 16  # two shards are in memory at a time


@contextmanager
def encoded(
    folder: Path,
    encoder: Encoder,
    documents: Iterable[StoredDocument],
    n_docs: int,
    *,
    separator: str,
    spans: bool,
    passages: bool,
    progress: Progress,
) -> Iterator[tuple[Embeddings, Sequence[str]]]:
    """Encode documents, and give their embeddings and ids for the length of a block.

    Args:
        folder: The collection, which has room for a temporary store.
        encoder: The collection's encoder.
        documents: The documents, read once.
        n_docs: Number of documents.
        separator: What stands between title and text.
        spans: Whether to keep the characters of tokens.
        passages: Whether to keep the passages of each document apart.
        progress: Receives the documents that are encoded.
    """
    texts = ((document.doc_id, encoded_text(document, separator).content) for document in documents)
    if n_docs <= _IN_MEMORY:
        pairs = dict(texts)
        kept: dict[str, Any] = {"spans": spans, "progress": progress}
        if passages:
            yield encode_passages(encoder, pairs.values(), list(pairs), **kept)
            return
        yield (
            encoder.encode_documents(pairs.values(), **kept),
            list(pairs),
        )
        return
    store_folder = folder / FOLDER
    remove(store_folder)
    try:
        store, _ = encode_to_store(
            texts,
            n_docs,
            encoder,
            store_folder,
            role="document",
            fingerprint=encoder.fingerprint("document"),
            dtype="float16",
            shard_tokens=_SHARD_TOKENS,
            progress=progress,
            spans=spans,
            passages=passages,
        )
        yield store, store.doc_ids
    finally:
        remove(store_folder)
