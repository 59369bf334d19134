"""The stages of mining, each cached under the digest of exactly what it depends on.

Other rules for negatives therefore reuse all of them, another depth of search reuses embeddings
and scores, and another teacher reuses the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.config.mine import CrossEncoderConfig, MineConfig
from colmodern.config.models import DatasetConfig
from colmodern.encoder.encoder import Encoder
from colmodern.encoding.store import corpus_key, document_texts, encode_corpus, encode_to_store
from colmodern.errors import ConfigError, StorageError
from colmodern.files import parse_json, sha256_of_json, write_json
from colmodern.pipeline.open.data import resolve_dataset
from colmodern.pipeline.open.encoder import encoder_from_config
from colmodern.pipeline.result import Timing
from colmodern.pipeline.searchers.base import JudgedQueries, SearchTexts
from colmodern.pipeline.searchers.registry import make_searcher
from colmodern.progress import Progress
from colmodern.ragged.store import EmbeddingStore
from colmodern.training.mining.teachers import CrossEncoder, EncoderTeacher, Teacher
from colmodern.types import Dataset

_CHUNK = 128  # queries whose scores share a file, after which an interrupted run resumes


@dataclass(frozen=True)
class Candidates:
    """The positives of a query, and the other documents that a search returned, best first."""

    query_id: str
    positives: list[str]
    others: list[str]

    @property
    def doc_ids(self) -> list[str]:
        """Ids of the positives, then of the others."""
        return [*self.positives, *self.others]


class MiningStages:
    """Runs the stages of a mining run in ``folder``, whose writer's lock the caller holds."""

    def __init__(
        self,
        config: MineConfig,
        dataset: Dataset,
        encoder: Encoder,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.config, self.dataset = config, dataset
        self._encoder, self._folder, self.progress = encoder, folder, progress

    def encode_documents(self) -> EmbeddingStore:
        """Token embeddings of the collection."""
        dtype = self.config.storage.dtype
        key = corpus_key(self.dataset.corpus, self._encoder, dtype=dtype, **self._titles)
        store, _ = encode_corpus(
            self.dataset.corpus,
            self._encoder,
            self._path("documents", key),
            **self._titles,
            dtype=dtype,
            shard_tokens=self.config.storage.shard_tokens,
            progress=self.progress,
            devices=self.config.encoder.devices or (),
        )
        return store

    def find_candidates(self, documents: EmbeddingStore) -> list[Candidates]:
        """Candidates of every query that has a positive, in the order of the queries."""
        dataset, negatives = self.dataset, self.config.negatives
        positives = {
            query_id: [doc_id for doc_id, grade in dataset.qrels[query_id].items() if grade > 0]
            for query_id in dataset.queries
        }
        n_excluded = max(map(len, dataset.excluded.values()), default=0) + 1  # and the query itself
        k = negatives.last_rank + max(map(len, positives.values())) + n_excluded
        queries = self._encode_queries([x for x, doc_ids in positives.items() if doc_ids])
        results = self._search(documents, queries, k)
        read = self.config.dataset
        drop_self = read is not None and resolve_dataset(read).drop_self_matches
        candidates = []
        for query_id, doc_ids in zip(queries.doc_ids, results, strict=True):
            excluded = {*positives[query_id], *dataset.excluded.get(query_id, ())}
            excluded |= {query_id} if drop_self else set()
            others = [doc_id for doc_id in doc_ids if doc_id not in excluded]
            ranked = others[negatives.first_rank - 1 : negatives.last_rank]
            candidates.append(Candidates(query_id, positives[query_id], ranked))
        return candidates

    def make_teacher(self, documents: EmbeddingStore, candidates: Sequence[Candidates]) -> Teacher:
        """The teacher of the config; an encoder other than the searching one encodes them first."""
        config, storage = self.config.teacher, self.config.storage
        if config is None:
            return EncoderTeacher(self._encoder, documents)
        if isinstance(config, CrossEncoderConfig):
            return CrossEncoder(config, dict(self.texts_of(candidates)))
        teacher = encoder_from_config(config)
        doc_ids = sorted({doc_id for x in candidates for doc_id in x.doc_ids})
        key = corpus_key(self.dataset.corpus, teacher, dtype=storage.dtype, **self._titles)
        key = sha256_of_json([key, doc_ids])
        store, _ = encode_to_store(
            self.texts_of(candidates),
            len(doc_ids),
            teacher,
            self._path("taught", key),
            role="document",
            fingerprint=key,
            dtype=storage.dtype,
            shard_tokens=storage.shard_tokens,
            progress=self.progress,
            devices=config.devices or (),
        )
        return EncoderTeacher(teacher, store)

    def score(self, teacher: Teacher, candidates: Sequence[Candidates]) -> list[list[float]]:
        """The teacher's scores of every query's candidates, positives first.

        A score depends on the query, the document and the teacher alone, so the scores of an
        earlier search are reused, whatever its other results were.
        """
        scores: list[list[float]] = []
        texts = [self.dataset.corpus.fingerprint, self._titles]
        folder = self._path("scores", sha256_of_json([teacher.fingerprint, *texts]))
        folder.mkdir(exist_ok=True)
        self.progress.start("score", len(candidates), unit="queries")
        for start in range(0, len(candidates), _CHUNK):
            chunk = candidates[start : start + _CHUNK]
            queries = [self.dataset.queries[x.query_id] for x in chunk]
            path = folder / f"{sha256_of_json(queries)[:16]}.json"
            cached: list[dict[str, float]] = [{} for _ in chunk]
            if path.is_file():
                cached = parse_json(path, StorageError, cure=f"remove {path} and run again")
            missing = [
                [doc_id for doc_id in x.doc_ids if doc_id not in scored]
                for x, scored in zip(chunk, cached, strict=True)
            ]
            if any(missing):
                new = teacher.scores(queries, missing)
                for scored, doc_ids, values in zip(cached, missing, new, strict=True):
                    scored.update(zip(doc_ids, values.tolist(), strict=True))
                write_json(path, cached)
            for x, scored in zip(chunk, cached, strict=True):
                scores.append([scored[doc_id] for doc_id in x.doc_ids])
            self.progress.advance(len(chunk))
        self.progress.finish()
        return scores

    def texts_of(self, candidates: Sequence[Candidates]) -> Iterator[tuple[str, str]]:
        """Ids and texts of the candidates, as they are encoded, in the order of the collection."""
        doc_ids = {doc_id for x in candidates for doc_id in x.doc_ids}
        pairs = document_texts(self.dataset.corpus, **self._titles)
        return ((doc_id, text) for doc_id, text in pairs if doc_id in doc_ids)

    @property
    def _titles(self) -> dict[str, Any]:
        dataset = self.config.dataset or DatasetConfig()  # pairs have no titles
        return {"join_titles": dataset.join_titles, "title_separator": dataset.title_separator}

    def folder(self, stage: str, key: str) -> Path:
        """Folder of a stage's result; key: digest of all that it depends on."""
        return self._path(stage, key)

    def record(self, stage: str, timing: Timing, environment: dict[str, object]) -> None:
        """What stages of mining cost is not kept."""

    def _path(self, stage: str, key: str) -> Path:
        return self._folder / f"{stage}-{key[:16]}"

    def _encode_queries(self, query_ids: Sequence[str]) -> EmbeddingStore:
        texts = [(query_id, self.dataset.queries[query_id]) for query_id in query_ids]
        key = sha256_of_json([texts, self._encoder.fingerprint("query")])
        store, _ = encode_to_store(
            texts,
            len(texts),
            self._encoder,
            self._path("queries", key),
            role="query",
            fingerprint=key,
            dtype="float32",
            shard_tokens=self.config.storage.shard_tokens,
            progress=self.progress,
        )
        return store

    def judged_queries(self, split: str) -> JudgedQueries:
        """Refused: the queries that are mined have no splits; raises ConfigError."""
        raise ConfigError(
            f"index.tune_split={split}: mining has no splits; give index.weights, or leave both out"
        )

    def _search(
        self, documents: EmbeddingStore, queries: EmbeddingStore, k: int
    ) -> list[list[str]]:
        """Ids of the best ``k`` documents of every query, from this search or a cached one."""
        texts = SearchTexts(
            self.dataset.corpus, self.dataset.queries, self.config.dataset or DatasetConfig()
        )
        searcher = make_searcher(self.config.index, self._encoder.device, texts)
        inputs = [documents.manifest["fingerprint"], queries.manifest["fingerprint"], k]
        prepared = searcher.prepare(documents, queries, self)
        path = self._path("candidates", sha256_of_json([*searcher.cache_key(prepared), *inputs]))
        if path.is_file():
            ids: list[list[str]] = parse_json(path, StorageError, cure=f"remove {path}")
            return ids
        results = searcher.search(documents, queries, prepared, k, self.progress).results
        ids = [[doc_id for doc_id, _ in hits] for hits in results]
        write_json(path, ids)
        return ids
