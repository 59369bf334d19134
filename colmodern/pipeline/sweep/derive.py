"""Document embeddings made from stored ones: cut after some tokens, then pooled; resumable."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.library import Ids
from colmodern.encoder.text.tokenizer import TextTokenizer
from colmodern.encoding.store import document_texts, reuse_store
from colmodern.environment import describe_environment
from colmodern.errors import StorageError
from colmodern.files import sha256_of_json
from colmodern.passages import documents_of
from colmodern.pipeline.sweep.points import Variant
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.spans import TokenSpans
from colmodern.ragged.store import EmbeddingStore, ShardWriter
from colmodern.ragged.writer import N_TEXTS
from colmodern.types import Corpus

_FORMAT = 1  # raised when the same input begins to give other embeddings
CUT_DOCUMENTS = "n_documents_cut_from_stored"  # a fact of a derived store


def derive_key(store: EmbeddingStore, variant: Variant, encoder: Encoder) -> str:
    """Digest of all that derived embeddings depend on."""
    cut = variant.kept_length if variant.cut == "stored" else None
    pooled = [variant.pool_factor, encoder.settings.protected_tokens]
    return sha256_of_json([_FORMAT, store.manifest["fingerprint"], cut, pooled])


def derive(
    store: EmbeddingStore,
    folder: Path,
    variant: Variant,
    encoder: Encoder,
    corpus: Corpus,
    *,
    join_titles: bool,
    title_separator: str,
    progress: Progress,
) -> EmbeddingStore:
    """Cut and pool a store of encoded documents into another one, a shard for a shard.

    A cut document keeps exactly those tokens that it has when it is encoded at that length (its
    first ones, and the special tokens at the end), with the embeddings that they had in the
    whole text. A document that is not longer is the same as encoded anew. Pooling is that of the
    encoder, on values as they are stored.

    Raises StorageError when the store was not made from these texts.
    """
    key = derive_key(store, variant, encoder)
    dtype = store.manifest["dtype"]
    with ShardWriter(folder, fingerprint=key, dtype=dtype, note=progress.note) as writer:
        if (folder / "manifest.json").is_file():
            return reuse_store(folder, progress)
        tokenizer = None
        if variant.cut == "stored" and variant.kept_length is not None:
            cut = replace(
                encoder.settings,
                document_length=variant.kept_length,
                overflow="truncate",
                overlap=None,
            )
            tokenizer = encoder.tokenizer.with_settings(cut)
        texts = document_texts(corpus, join_titles=join_titles, title_separator=title_separator)
        left = itertools.islice(texts, writer.n_docs, None)
        task = "pool documents" if tokenizer is None else "cut documents"
        progress.start(task, store.n_docs, unit="texts", done=writer.n_docs)
        for shard in store.shards[len(writer.shards) :]:
            start = time.perf_counter()
            ids, n_cut = store.doc_ids[writer.n_docs : writer.n_docs + shard.n_docs], 0
            kept = shard
            if tokenizer is not None:
                pairs = list(itertools.islice(left, shard.n_docs))
                if [doc_id for doc_id, _ in pairs] != ids:
                    raise StorageError(f"{store.folder} was made from another corpus; encode again")
                kept = cut_documents(shard, [text for _, text in pairs], tokenizer)
                n_cut = int((kept.lengths < shard.lengths).sum())
            if variant.pool_factor > 1:
                from colmodern.encoder.pooling import pool_tokens  # loads numba

                protected = encoder.settings.protected_tokens
                kept = pool_tokens(kept, variant.pool_factor, protected=protected)
            facts = {"seconds": time.perf_counter() - start, CUT_DOCUMENTS: n_cut}
            if store.has_passages:
                facts[N_TEXTS] = len(documents_of(ids))
            writer.add(kept, ids, facts=facts)
            progress.advance(shard.n_docs)
        progress.finish()
        return writer.finish(
            # no encoder makes these embeddings in one step, so they have a fingerprint of their own
            encoder={**encoder.describe(), "fingerprint": key},
            role="document",
            **({"passages": True} if store.has_passages else {}),
            derived_from=store.manifest["fingerprint"],
            environment=describe_environment(),
        )


def cut_documents(
    documents: TokenEmbeddings, texts: Sequence[str], tokenizer: TextTokenizer
) -> TokenEmbeddings:
    """The rows whose tokens each text has when ``tokenizer`` cuts it.

    Raises StorageError when the rows are not those of the texts.
    """
    if documents.token_ids is None:
        raise StorageError("stored embeddings without token ids cannot be cut; encode again")
    wanted = tokenizer.tokenize(texts, "document")
    kept_rows = []
    for position, (ids, scored) in enumerate(zip(wanted.ids, wanted.scored, strict=True)):
        first, last = documents.offsets[position : position + 2]
        stored, kept = documents.token_ids[first:last], ids[scored]
        own_rows = _rows_of(np.asarray(stored), kept)
        if not np.array_equal(stored[own_rows], kept):
            raise StorageError(
                f"stored tokens of document {position} of a shard are not those of its text; the "
                "tokenizer or the text has changed: encode again"
            )
        kept_rows.append(first + own_rows)
    all_rows = np.concatenate(kept_rows) if kept_rows else np.empty(0, np.int64)
    offsets = offsets_of([len(rows) for rows in kept_rows])
    spans = None
    if documents.spans is not None and not documents.spans.is_pooled:
        bounds = [documents.spans[position] for position in range(documents.n_docs)]
        every = np.concatenate([np.empty((0, 2), np.int64), *bounds])
        spans = TokenSpans.from_bounds(every[all_rows], offsets)
    return TokenEmbeddings(
        documents.values[all_rows], offsets, documents.token_ids[all_rows], spans=spans
    )


def _rows_of(stored: Ids, kept: Ids) -> npt.NDArray[np.int64]:
    """The first rows as far as both have the same tokens; the others from the end."""
    n = min(len(stored), len(kept))
    differs = np.flatnonzero(stored[:n] != kept[:n])
    n_head = int(differs[0]) if len(differs) else n
    n_tail = max(0, len(kept) - n_head)
    return np.concatenate([np.arange(n_head), np.arange(len(stored) - n_tail, len(stored))])
