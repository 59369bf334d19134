"""What is searched: documents, queries, judgments, and the exact answers."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from colmodern import ExactIndex
from colmodern.files import replacing, sha256_of_json
from colmodern.ragged.store import EmbeddingStore, ShardWriter

_TOKENS_AT_ONCE = 1_000_000
_BEYOND_K = 100  # exact results kept beyond k, for documents that tie with the k-th

Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Collection:
    """Stores of documents and queries as the engines get them; ``folder`` is for what is made of them."""

    name: str
    folder: Path
    documents: EmbeddingStore
    queries: EmbeddingStore
    qrels: Qrels  # empty when nothing is judged

    @property
    def digest(self) -> str:
        """Changes with any value of the documents."""
        return sha256_of_json([shard["sha256"] for shard in self.documents.manifest["shards"]])


def open_collection(
    name: str,
    documents: EmbeddingStore,
    queries: EmbeddingStore,
    qrels: Qrels,
    work: Path,
    *,
    max_docs: int | None = None,
    max_queries: int | None = None,
    seed: int = 0,
) -> Collection:
    """Take a seeded sample where asked for, always with the relevant documents of its queries."""
    rng = np.random.default_rng(seed)
    judged = [i for i, query in enumerate(queries.doc_ids) if not qrels or query in qrels]
    if not judged:
        raise click.ClickException("no query of the store has judgments; check --qrels")
    query_ids = _sample(rng, judged, max_queries)
    used = {queries.doc_ids[i]: qrels[queries.doc_ids[i]] for i in query_ids if qrels}
    relevant = {doc for grades in used.values() for doc, grade in grades.items() if grade > 0}
    kept = [i for i, doc in enumerate(documents.doc_ids) if doc in relevant]
    if used and not kept:
        raise click.ClickException("no judged document is in the store; check --qrels-prefix")
    wanted = _sample(rng, range(documents.n_docs), max_docs, always=kept)
    shards = [store.manifest["shards"] for store in (documents, queries)]
    key = sha256_of_json([shards, query_ids, wanted])[:8]
    folder = work / f"{name}-{len(wanted)}-{key}"
    return Collection(
        name,
        folder,
        _subset(documents, wanted, folder / "documents"),
        _subset(queries, query_ids, folder / "queries"),
        used,
    )


def read_qrels(path: Path, prefix: str = "") -> Qrels:
    """Judgments of a BEIR tsv (query-id, corpus-id, score, a header line).

    prefix: put before each document id
    """
    qrels: Qrels = {}
    with path.open(newline="") as file:
        lines = csv.reader(file, delimiter="\t")
        next(lines)
        for query_id, doc_id, grade, *_ in lines:
            qrels.setdefault(query_id, {})[prefix + doc_id] = int(grade)
    return qrels


def exact_results(collection: Collection, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows, int64, and MaxSim scores, float32, of at least k documents a query; cached.

    Both are (n_queries, depth), best first.
    """
    depth = min(collection.documents.n_docs, k + _BEYOND_K)
    path = collection.folder / f"exact-{depth}.npz"
    if not path.is_file():
        row_of = {doc_id: row for row, doc_id in enumerate(collection.documents.doc_ids)}
        index = ExactIndex(collection.documents, collection.documents.doc_ids)
        matches = index.search_batch(collection.queries.to_memory(), depth)
        collection.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                rows=np.array([[row_of[doc] for doc, _ in results] for results in matches]),
                scores=np.array([[s for _, s in results] for results in matches], np.float32),
            )
    with np.load(path) as arrays:
        return arrays["rows"], arrays["scores"]


def _sample(
    rng: np.random.Generator,
    indices: list[int] | range,
    size: int | None,
    *,
    always: list[int] | None = None,
) -> list[int]:
    """Sorted; all of ``always`` and as many others as ``size`` leaves room for."""
    if size is None or size >= len(indices):
        return list(indices)
    kept = always or []
    if len(kept) > size:
        raise click.ClickException(f"{len(kept)} documents are relevant; raise --max-docs={size}")
    others = np.setdiff1d(np.asarray(indices), kept)
    return sorted([*kept, *rng.choice(others, size - len(kept), replace=False).tolist()])


def _subset(store: EmbeddingStore, wanted: list[int], folder: Path) -> EmbeddingStore:
    """The store itself when all is wanted, else a copy of a part."""
    if len(wanted) == store.n_docs:
        return store
    if not (folder / "manifest.json").is_file():
        wanted_ids = np.asarray(wanted)
        fingerprint = sha256_of_json([store.manifest["fingerprint"], wanted])
        writer = ShardWriter(folder, fingerprint=fingerprint, dtype=store.manifest["dtype"])
        seen = 0
        for first, texts in store.chunks(_TOKENS_AT_ONCE):
            rows = wanted_ids[(wanted_ids >= first) & (wanted_ids < first + texts.n_docs)]
            seen += len(rows)
            if len(rows) and seen > writer.n_docs:
                writer.add(texts.select(rows - first), [store.doc_ids[row] for row in rows])
        writer.finish()
    return EmbeddingStore(folder)
