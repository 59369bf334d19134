"""Texts to shards on disk, resumable; the only way a corpus is encoded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import expect_split
from colmodern.encoder.text.settings import Role
from colmodern.encoding.devices import encode_on_devices
from colmodern.encoding.shard_order import ShardOrder
from colmodern.encoding.shards import Shard, Text, cut_shards, encode_shards
from colmodern.environment import describe_environment
from colmodern.errors import StorageError
from colmodern.files import sha256_of_json
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore, ShardWriter
from colmodern.types import Corpus, Document


class ShardWorkers(Protocol):
    """Encodes shards elsewhere: in other processes, or on other machines."""

    def __call__(
        self,
        shards: Iterator[Shard],
        encoder: Encoder,
        role: Role,
        writer: ShardWriter,
        *,
        spans: bool = False,
        passages: bool = False,
        progress: Progress,
    ) -> None:
        """Encode the shards that ``writer`` lacks, which end in it in their order."""
        ...


def document_texts(
    corpus: Iterable[Document], *, join_titles: bool, title_separator: str = " "
) -> Iterator[Text]:
    """The text that is encoded for each document."""
    titles: dict[str, Any] = {"join_titles": join_titles, "title_separator": title_separator}
    for document in corpus:
        yield document.doc_id, text_of(document, **titles)


def text_of(document: Document, *, join_titles: bool = True, title_separator: str = " ") -> str:
    """The text that is encoded for a document, and that spans of its tokens count from.

    Args:
        document: A document of a collection.
        join_titles: Whether its title stands before its text.
        title_separator: What stands between them.
    """
    fields = (document.title, document.text) if join_titles else (document.text,)
    return title_separator.join(filter(None, fields)).strip()


def corpus_key(
    corpus: Corpus,
    encoder: Encoder,
    *,
    join_titles: bool,
    dtype: str,
    title_separator: str = " ",
    spans: bool = False,
    passages: bool = False,
) -> str:
    """Digest of all that stored document embeddings depend on."""
    encoded_by = encoder.fingerprint("document")
    joined = title_separator if join_titles else None
    also = [*(["spans"] if spans else []), *(["passages"] if passages else [])]
    return sha256_of_json([corpus.fingerprint, joined, encoded_by, dtype, *also])


def encode_corpus(
    corpus: Corpus,
    encoder: Encoder,
    folder: Path,
    *,
    join_titles: bool,
    dtype: str,
    shard_tokens: int,
    progress: Progress,
    title_separator: str = " ",
    devices: Sequence[str] = (),
    workers: ShardWorkers | None = None,
    spans: bool = False,
    passages: bool = False,
) -> tuple[EmbeddingStore, bool]:
    """Encode the documents of a corpus; arguments and result as of ``encode_to_store``."""
    titles: dict[str, Any] = {"join_titles": join_titles, "title_separator": title_separator}
    contents: dict[str, Any] = {"spans": spans, "passages": passages}
    return encode_to_store(
        document_texts(corpus, **titles),
        len(corpus),
        encoder,
        folder,
        role="document",
        fingerprint=corpus_key(corpus, encoder, dtype=dtype, **titles, **contents),
        dtype=dtype,
        shard_tokens=shard_tokens,
        progress=progress,
        devices=devices,
        workers=workers,
        **contents,
    )


def encode_to_store(
    texts: Iterable[Text],
    n_texts: int,
    encoder: Encoder,
    folder: Path,
    *,
    role: Role,
    fingerprint: str,
    dtype: str,
    shard_tokens: int,
    progress: Progress,
    devices: Sequence[str] = (),
    workers: ShardWorkers | None = None,
    spans: bool = False,
    passages: bool = False,
) -> tuple[EmbeddingStore, bool]:
    """Encode texts into a store, resuming after the last finished shard of an earlier call.

    Finished shards are compared with their checksums; damaged ones are encoded again.

    Args:
        texts: (id, text) pairs.
        n_texts: Number of all texts, for the progress.
        encoder: Tokenizes, encodes and pools.
        folder: Folder of the store, new or begun by an earlier call.
        role: Whether the texts are queries or documents.
        fingerprint: Digest of everything that the embeddings depend on.
        dtype: Of stored values, "float16" or "float32".
        shard_tokens: A shard ends when its texts reach this many tokens, by a guess from their
            size.
        progress: Receives the texts that are encoded.
        devices: Two or more share the shards, each with a process and a model of its own; the
            bytes are those of the encoder alone.
        workers: Encode the shards in place of ``devices``, as colmodern.cluster does on machines.
        spans: Whether to keep the characters that each token covers.
        passages: Whether each window of a split document is a document of the store, with the id of
            a passage.

    Returns:
        The store and whether it was there already.

    Raises:
        ConfigError: ``passages``, and the encoder cuts long documents.
        StorageError: The folder holds other embeddings, cannot be written, or is being written
            by another process.
        WorkerError: A process dies.
    """
    if passages:
        expect_split(encoder.settings)
    task = f"encode {'queries' if role == 'query' else 'documents'}"
    contents: dict[str, Any] = {"spans": spans, "passages": passages}
    with ShardWriter(folder, fingerprint=fingerprint, dtype=dtype, note=progress.note) as writer:
        if (folder / "manifest.json").is_file():
            return reuse_store(folder, progress), True
        if done := writer.n_texts:
            progress.note(f"{task}: resuming after {done:,} of {n_texts:,}")
        progress.start(task, n_texts, unit="texts", done=done)
        shards = cut_shards(
            itertools.islice(texts, done, None),
            first=len(writer.shards),
            limit=_limit(encoder, role),
            shard_tokens=shard_tokens,
        )
        if workers is None and len(devices) > 1:
            workers = partial(encode_on_devices, devices=devices)
        if workers is not None:
            workers(shards, encoder, role, writer, **contents, progress=progress)
        else:
            order = ShardOrder(writer, progress)
            unfinished = order.unfinished(shards)
            encode_shards(unfinished, encoder, role, order.write, **contents, progress=progress)
        progress.finish()
        record: dict[str, object] = {
            "encoder": encoder.describe(),
            "role": role,
            "environment": describe_environment(),
        }
        if passages:
            record["passages"] = True
        return writer.finish(**record), False


def store_of_ids(folder: Path, ids: Sequence[str], fingerprint: str, dim: int) -> EmbeddingStore:
    """A store of queries that nobody encodes: their ids, and no tokens.

    Args:
        folder: Folder of the store, new or finished by an earlier call.
        ids: Ids of the queries.
        fingerprint: Digest of the queries.
        dim: Width that the store has.

    Raises:
        StorageError: As from ``encode_to_store``.
    """
    with ShardWriter(folder, fingerprint=fingerprint, dtype="float32") as writer:
        if (folder / "manifest.json").is_file():
            return EmbeddingStore(folder)
        nothing = TokenEmbeddings(np.empty((0, dim), np.float32), np.zeros(len(ids) + 1, np.int64))
        if not writer.shards:
            writer.add(nothing, ids)
        return writer.finish(role="query", environment=describe_environment())


def reuse_store(folder: Path, progress: Progress) -> EmbeddingStore:
    """The finished store of an earlier call, all of its files compared with their checksums.

    Raises StorageError when it is damaged, or does not say what its making cost.
    """
    store = EmbeddingStore(folder)
    store.verify(progress=progress)  # cheap beside encoding; a damaged store must not be reused
    facts, made_in = store.manifest["facts"], store.manifest["environment"]
    if store.n_docs and ("seconds" not in facts or not made_in):
        raise StorageError(
            f"{folder / 'manifest.json'} lacks facts.seconds or environment, which an encoding "
            "writes; delete the folder and encode again"
        )
    return store


def _limit(encoder: Encoder, role: Role) -> int | None:
    """Tokens that are read of a text, None for all."""
    settings = encoder.settings
    if role == "query":
        return settings.query_length
    return None if settings.overflow == "split" else settings.document_length
