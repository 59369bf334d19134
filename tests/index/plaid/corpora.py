"""Small collections with the shape of real ones, and the slow truth about an index of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.codecs import centroids
from colmodern.codecs.codec import CompressedDocuments, Sample
from colmodern.kernels.reference.maxsim import maxsim
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import EmbeddingStore, ShardWriter
from colmodern.types import ScoredDoc

N_WORDS = 40


def corpus(
    lengths: Sequence[int], dim: int = 16, seed: int = 0, *, with_ids: bool = True
) -> TokenEmbeddings:
    """Unit rows around one place for each of 40 words, float16."""
    places = np.random.default_rng(7).normal(size=(N_WORDS, dim))
    rng = np.random.default_rng(seed)
    words = (rng.zipf(1.3, sum(lengths)) % N_WORDS).astype(np.int32)
    values = places[words] + 0.4 * rng.normal(size=(len(words), dim)) + 0.3
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    ids = words if with_ids else None
    return TokenEmbeddings(values.astype(np.float16), offsets_of(lengths), ids)


def spread(lengths: Sequence[int], dim: int, seed: int = 3) -> TokenEmbeddings:
    """Unit rows without clusters: residuals are long, and centroids say little."""
    values = np.random.default_rng(seed).normal(size=(sum(lengths), dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenEmbeddings(values.astype(np.float32), offsets_of(lengths))


def changed_index(
    documents: TokenEmbeddings, path: Path, n_built: int, **settings: Any
) -> PlaidIndex:
    """An index of two segments, with some documents deleted."""
    ids = names(documents.n_docs)
    index = PlaidIndex.build(documents[:n_built], path, ids[:n_built], **settings)
    index.add(documents[n_built:], ids[n_built:])
    index.delete(ids[::17])
    return index


def clustered_index(
    documents: TokenEmbeddings, path: Path, *, n_clusters: int, **settings: Any
) -> PlaidIndex:
    """An index of one segment whose centroids are in so many clusters, as those of a large one are."""
    index = PlaidIndex.build(documents, path, names(documents.n_docs), **settings)
    n_centroids = index.info()["centroids"]
    index.close()
    shutil.rmtree(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centroids, "FEW_CENTROIDS", 1)
        patch.setattr(centroids, "_CENTROIDS_PER_CLUSTER", max(1, n_centroids // n_clusters))
        return PlaidIndex.build(documents, path, names(documents.n_docs), **settings)


def sample_of(texts: TokenEmbeddings, *, with_ids: bool = True) -> Sample:
    """All tokens of all documents that have any."""
    values = texts.values.astype(np.float32)
    filled = [i for i in range(texts.n_docs) if texts.lengths[i]]
    return Sample(
        values,
        texts.token_ids if with_ids else None,
        texts.lengths[filled],
        texts.lengths[filled],
        np.stack([np.asarray(texts[i], np.float32).mean(axis=0) for i in filled]),
    )


def lengths_like_passages(n_docs: int, seed: int = 0) -> list[int]:
    """5 to 24 tokens, and none now and then."""
    lengths = np.random.default_rng(seed).integers(5, 25, n_docs)
    lengths[7::50] = 0
    return lengths.tolist()


def names(n: int, prefix: str = "d") -> list[str]:
    """d0, d1, ..."""
    return [f"{prefix}{i}" for i in range(n)]


def write_store(
    folder: Path,
    embeddings: TokenEmbeddings,
    doc_ids: Sequence[str],
    shard_docs: int,
    **about: object,
) -> EmbeddingStore:
    """The same embeddings on disk, cut into shards of ``shard_docs`` documents."""
    writer = ShardWriter(folder, fingerprint="x", dtype=str(embeddings.values.dtype))
    for start in range(0, len(embeddings), shard_docs):
        part = slice(start, start + shard_docs)
        writer.add(embeddings[part], doc_ids[part])
    return writer.finish(**about)


def decoded(index: PlaidIndex) -> dict[str, np.ndarray]:
    """The decoded tokens of every document that can be found, by id."""
    opened, codec = index._state.snapshot, index._state.codec
    found, row = {}, 0
    for segment in opened.segments:
        encoded = CompressedDocuments(
            *(getattr(segment.arrays, name) for name in CompressedDocuments._fields)
        )
        tokens = codec.decode(encoded, segment.lengths)
        for i, doc_id in enumerate(segment.ids):
            start, stop = segment.arrays.doc_offsets[i : i + 2]
            if row + i not in opened.deleted:
                found[doc_id] = tokens[start:stop]
        row += segment.n_docs
    return found


def truth(query: np.ndarray, documents: dict[str, np.ndarray]) -> dict[str, float]:
    """MaxSim with each document."""
    return {doc_id: maxsim(query, tokens) for doc_id, tokens in documents.items()}


def expect_best(results: list[ScoredDoc], scores: dict[str, float], k: int, within: float) -> None:
    """Scores are the true ones, and none outside of the results is better by more than rounding."""
    ranked = oracles.ranking(scores, k)
    assert len(results) == len(ranked)
    assert len({doc.doc_id for doc in results}) == len(results)
    for doc, best in zip(results, ranked, strict=True):
        assert abs(doc.score - scores[doc.doc_id]) <= within, doc
        assert abs(scores[doc.doc_id] - scores[best]) <= within, (doc, best)
    keys = [(-doc.score, doc.doc_id) for doc in results]
    assert keys == sorted(keys)


def overlap(results: Iterable[ScoredDoc], scores: dict[str, float], k: int) -> float:
    """Part of the true k best that is among the results."""
    best = set(oracles.ranking(scores, k))
    return len(best & {doc.doc_id for doc in results}) / len(best)


def digests(folder: Path) -> dict[str, str]:
    """Of every file below a folder but the lock."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def copy_of(index: PlaidIndex, folder: Path) -> PlaidIndex:
    """An index of its own with the same bytes."""
    shutil.copytree(index.info()["path"], folder)
    return PlaidIndex.load(folder)
