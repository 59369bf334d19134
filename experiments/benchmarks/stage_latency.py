"""How long each search of stages.py takes for one query among many passages, on one thread.

Texts are cut at 100 words, and BM25 indexes a seeded sample of the passages. The model encodes a part of
the sample; the embeddings of the rest are noisy copies of that part. Their number and lengths are real, while
words and embeddings of a passage are of different texts. Every query is searched by all systems in turn,
so that a busy machine slows all of them alike. Encoding the query is timed apart; every system but BM25
waits for it, too.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from results import Row, append_rows, machine_and_commit

from colmodern import (
    BM25Index,
    EmbeddingStore,
    Encoder,
    HybridIndex,
    PlaidIndex,
    RerankIndex,
    TokenEmbeddings,
    load_dataset,
)
from colmodern.encoding.store import document_texts, encode_to_store
from colmodern.files import sha256_of_json
from colmodern.progress import as_progress

RESULTS = Path(__file__).resolve().parents[1] / "results" / "stage_latency.csv"
COLUMNS = (
    *(
        "date",
        "commit",
        "machine",
        "load",
        "collection",
        "n_docs",
        "n_tokens",
        "model",
        "system",
        "k",
    ),
    *("threads", "n_queries", "median_ms", "p99_ms"),
)
SHOWN = ("system", "k", "n_queries", "median_ms", "p99_ms", "load")
WORDS, K, WARM, NOISE = 100, 10, 10, np.float32(0.1)

Search = Callable[[str, np.ndarray], object]


class Resampled(EmbeddingStore):
    """A store and noisy copies of it, made while an index is built.

    MaxSim with candidates reads the documents that they are copies of.
    """

    def __init__(self, folder: Path, copies: int) -> None:
        super().__init__(folder)
        self._copies, self._own_docs, self._own_ids = copies, self.n_docs, super().doc_ids
        self.n_docs, self.n_tokens = self.n_docs * copies, self.n_tokens * copies

    @property
    def doc_ids(self) -> list[str]:
        """(n_docs,) ids, those of a copy with its number in front."""
        return [f"{copy}/{doc_id}" for copy in range(self._copies) for doc_id in self._own_ids]

    @property
    def lengths(self) -> np.ndarray:
        """(n_docs,) tokens of each document."""
        return np.tile(super().lengths, self._copies)

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """As EmbeddingStore.chunks, copy after copy; the noise is a tenth of a token's length."""
        for copy in range(self._copies):
            for first, piece in super().chunks(max_tokens, max_docs):
                position = copy * self._own_docs + first
                rng = np.random.default_rng(position)
                noise = rng.standard_normal(piece.values.shape, np.float32)
                values = piece.values + (copy > 0) * NOISE / np.sqrt(self.dim) * noise
                values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
                yield position, TokenEmbeddings(values.astype(np.float16), piece.offsets)

    def select(self, docs: Sequence[int]) -> TokenEmbeddings:
        """The documents of which these are copies."""
        return super().select([doc % self._own_docs for doc in docs])


def measure_latency(
    sources: Sequence[Path],
    work: Path,
    encoder: Encoder,
    n_passages: int,
    copies: int,
    n_queries: int,
) -> list[Row]:
    """Rows of all systems.

    Args:
        sources: Folders in the BEIR layout, and files of pairs with a key "positive".
        work: Keeps embeddings and indexes for a second call.
        encoder: Encodes passages and queries.
        n_passages: Passages in the sample; a multiple of ``copies``.
        copies: How often the encoded part makes up the sample.
        n_queries: Queries in the sample.
    """
    import torch

    torch.set_num_threads(1)
    passages = sampled_passages(sources, n_passages)
    queries = sampled_queries(sources, n_queries)
    encoded_part = {f"p{i}": text for i, text in enumerate(passages[: n_passages // copies])}
    key = sha256_of_json([passages, copies, encoder.fingerprint("document")])
    folder = work / f"latency-{key[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    progress = as_progress(True)
    encode_to_store(
        encoded_part.items(), len(encoded_part), encoder, folder / "embeddings", role="document",
        fingerprint=key, dtype="float16", shard_tokens=1 << 18, progress=progress,
    )  # fmt: skip
    store = Resampled(folder / "embeddings", copies)
    words, compressed = folder / "bm25", folder / "plaid"
    if not words.exists():
        BM25Index.build(zip(store.doc_ids, passages, strict=True), words, progress=progress)
    if not compressed.exists():
        PlaidIndex.build(store, compressed, progress=progress)
    encoded = encoder.encode_queries(queries)
    times = _times(_systems(BM25Index.load(words), compressed, store), queries, encoded)
    times["encode the query"] = _encoding(encoder, queries)
    names = ", ".join(source.name.removesuffix(".gz").removesuffix(".jsonl") for source in sources)
    facts: Row = {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "collection": f"passages of {WORDS} words of {names}; {len(encoded_part)} encoded",
        "n_docs": len(passages),
        "n_tokens": store.n_tokens,
        "model": encoder.checkpoint.name,
        "threads": 1,
        "n_queries": len(queries),
        "k": K,
    }
    rows = [
        {
            **facts,
            "system": name,
            "median_ms": f"{np.median(own) * 1e3:.2f}",
            "p99_ms": f"{np.percentile(own, 99) * 1e3:.2f}",
        }
        for name, own in times.items()
    ]
    append_rows(RESULTS, rows, COLUMNS)
    return rows


def sampled_passages(sources: Sequence[Path], n: int) -> list[str]:
    """A seeded sample of the passages of all texts, none of them twice."""
    passages: dict[str, None] = {}
    for source in sources:
        for text in _texts(source):
            words = text.split()
            for start in range(0, len(words), WORDS):
                passages[" ".join(words[start : start + WORDS])] = None
    if len(passages) < n:
        raise SystemExit(f"the sources have {len(passages):,} passages, below {n:,}; name more")
    return random.Random(0).sample(list(passages), n)


def sampled_queries(sources: Sequence[Path], n: int) -> list[str]:
    """A seeded sample of the judged queries of all folders."""
    texts = {
        text
        for source in sources
        if source.is_dir()
        for text in load_dataset(source).queries.values()
    }
    return random.Random(0).sample(sorted(texts), n)


def _texts(source: Path) -> Iterator[str]:
    if source.is_dir():
        for _, text in document_texts(load_dataset(source).corpus, join_titles=True):
            yield text
        return
    with gzip.open(source, "rt") as lines:
        for line in lines:
            yield json.loads(line)["positive"]


def _systems(words: BM25Index, compressed: Path, store: EmbeddingStore) -> dict[str, Search]:
    plaid = PlaidIndex.load(compressed, n_threads=1, while_compiling="wait")
    both = {"bm25": words, "plaid": plaid}
    systems: dict[str, Search] = {
        "bm25": lambda text, _: words.search(text, K),
        "plaid": lambda _, query: plaid.search(query, K),
    }
    for depth in (100, 1000):
        rerank = RerankIndex(words, store, depth=depth)
        hybrid = HybridIndex(both, depth=depth)
        systems[f"bm25 + MaxSim, depth {depth}"] = lambda text, query, index=rerank: index.search(
            text, query, K
        )
        systems[f"hybrid, rrf, depth {depth}"] = lambda text, query, index=hybrid: index.search(
            text, query, K
        )
    return systems


def _times(
    systems: Mapping[str, Search], queries: Sequence[str], encoded: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """(n_queries,) seconds of each system."""
    for text, query in zip(queries[:WARM], encoded, strict=False):
        for search in systems.values():
            search(text, query)
    times = {name: np.empty(len(queries)) for name in systems}
    names = list(systems)
    for position, (text, query) in enumerate(zip(queries, encoded, strict=True)):
        shift = position % len(names)  # none is always the first
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            systems[name](text, query)
            times[name][position] = time.perf_counter() - start
    return times


def _encoding(encoder: Encoder, queries: Sequence[str]) -> np.ndarray:
    """(n_queries,) seconds of encoding a query alone."""
    seconds = []
    for text in queries:
        start = time.perf_counter()
        encoder.encode_queries([text])
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)
