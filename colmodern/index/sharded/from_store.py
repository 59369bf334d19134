"""Shards of a store made one by one, each on any machine: the bytes that splitting one index gives.

The codec is learnt from all documents first, and is an index without documents. Each shard then reads
its own documents from the store, and takes the codec over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec
from colmodern.codecs.files import load_codec, save_codec
from colmodern.files import naming_write_errors, sha256_of_file, staging
from colmodern.index.finite import expect_finite, naming_documents
from colmodern.index.plaid.disk.manifest import CodecRecord, Manifest, commit
from colmodern.index.plaid.disk.segment import fast_checksums, record_segment, segment_name
from colmodern.index.plaid.disk.storage import CODEC
from colmodern.index.plaid.write.build import learned_codec
from colmodern.index.plaid.write.segment import EncodedChunk, write_segment
from colmodern.index.plaid.write.shared_codec import codec_of, copy_codec, settle_with_codec
from colmodern.index.plaid.write.source import chunks
from colmodern.index.plaid.write.spans import write_spans
from colmodern.index.sharded.placement import shards_of
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.spans import TokenSpans
from colmodern.ragged.store import EmbeddingStore
from colmodern.threads import Threads
from colmodern.units import parse_bytes

_BATCH_TOKENS = 8192  # tokens that a thread encodes at a time


def write_codec(
    store: EmbeddingStore,
    folder: Path,
    progress: Progress,
    *,
    max_memory: int | str = "4G",
    nbits: int = 4,
    codec: Any = None,
    n_centroids: int | None = None,
    seed: int = 0,
) -> None:
    """Learn the codec of an index of all documents, and write it as an index without documents.

    Args:
        store: The documents.
        folder: The new folder.
        progress: Receives the steps.
        max_memory: As in ``PlaidIndex.build``, like the arguments that follow.
        nbits: See there.
        codec: See there.
        n_centroids: See there.
        seed: See there.

    Raises:
        InputError: A value is wrong.
        ResourceError: ``max_memory`` is too little.
        StorageError: The store is damaged, or the disk is full.
    """
    settings, _ = settle_with_codec(
        store, None, nbits=nbits, codec=codec, n_centroids=n_centroids, seed=seed,
        max_memory=parse_bytes(max_memory, name="max_memory"),
    )  # fmt: skip
    with naming_documents(store.doc_ids), staging(folder) as staged:
        learned = learned_codec(store, settings, progress, staged)
        (staged / CODEC).mkdir()
        save_codec(staged / CODEC, learned)
        paths = sorted((staged / CODEC).iterdir())
        files = {path.name: sha256_of_file(path) for path in paths}
        manifest = Manifest(
            settings=asdict(settings) | ({"spans": True} if store.has_spans else {}),
            dim=learned.dim,
            fingerprint=store.fingerprint,
            n_centroids=len(learned.centroids.values),
            codec=CodecRecord(files=files, fast=fast_checksums(staged / CODEC, files)),
            segments=(),
            next_segment=0,
        )
        commit(staged, manifest)


def write_shard(
    store: EmbeddingStore,
    folder: Path,
    number: int,
    n_shards: int,
    codec_from: Path,
    *,
    n_threads: int | None = None,
) -> None:
    """Write one shard of a store as an index.

    Args:
        store: The documents of all shards.
        folder: The new folder.
        number: Number of the shard, from 0.
        n_shards: Number of shards.
        codec_from: What ``write_codec`` wrote.
        n_threads: Threads that compress; default all.

    Raises:
        InputError: The values of a document are not finite.
        StorageError: The store or the codec is damaged, or the disk is full.
    """
    manifest, shared = codec_of(codec_from)
    is_own = shards_of(store.doc_ids, n_shards) == number
    docs = np.flatnonzero(is_own)
    ids = [store.doc_ids[doc] for doc in docs.tolist()]
    with naming_documents(ids), staging(folder) as staged:
        with naming_write_errors(staged):
            (staged / CODEC).mkdir()
        copy_codec(shared, staged / CODEC)
        records = []
        if ids:
            name = segment_name(0)
            segment, lengths = staged / name, store.lengths[docs]
            with naming_write_errors(staged):
                segment.mkdir()
            codec = load_codec(staged / CODEC)
            compressed = _compressed(
                store, is_own, codec, manifest.settings["piece_tokens"], Threads(n_threads)
            )
            write_segment(segment, compressed, ids, lengths, codec, as_progress(None))
            if manifest.has_spans:
                write_spans(segment, lambda: _spans(store, is_own))
            n_tokens = int(np.sum(lengths))
            records.append(record_segment(segment, name, n_docs=len(ids), n_tokens=n_tokens))
        fields = {"segments": tuple(records), "next_segment": len(records)}
        commit(staged, manifest.model_copy(update=fields))


def _compressed(
    store: EmbeddingStore,
    is_own: npt.NDArray[np.bool_],
    codec: Codec,
    max_tokens: int,
    threads: Threads,
) -> Iterator[EncodedChunk]:
    """The documents of a shard, compressed; is_own: (n_docs,) which of the store's they are."""

    def work(batch: tuple[int, TokenEmbeddings]) -> EncodedChunk:
        first, documents = batch
        expect_finite(documents, first)
        return EncodedChunk(documents.lengths, codec.encode(documents))

    yield from threads.stream(work, _batches(store, is_own, max_tokens))


def _batches(
    store: EmbeddingStore, is_own: npt.NDArray[np.bool_], max_tokens: int
) -> Iterator[tuple[int, TokenEmbeddings]]:
    """Documents of a shard, each batch with the number of its first document in the shard."""
    n_before = 0
    for first, chunk in chunks(store, max_tokens):
        own = chunk.select(np.flatnonzero(is_own[first : first + chunk.n_docs]))
        for start, batch in own.chunks(_BATCH_TOKENS):
            yield n_before + start, batch
        n_before += own.n_docs


def _spans(store: EmbeddingStore, is_own: npt.NDArray[np.bool_]) -> Iterator[TokenSpans]:
    """The spans of the documents of a shard."""
    first = 0
    for spans in store.span_shards():
        yield spans.select(np.flatnonzero(is_own[first : first + spans.n_docs]))
        first += spans.n_docs
