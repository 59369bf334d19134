"""Hard negatives: find candidates with our index, score them with a teacher, keep what fits."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.config.mine import CrossEncoderConfig, MineConfig
from colmodern.config.models import DatasetConfig, PlaidIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import DataError, StorageError
from colmodern.files import parse_json, replacing, sha256_of_json, write_json
from colmodern.index.exact import ExactIndex
from colmodern.pipeline.encode import document_texts, encode_corpus, encode_to_store
from colmodern.pipeline.environment import describe_environment
from colmodern.pipeline.index_stage import build_once, search_index
from colmodern.pipeline.load_data import resolve_dataset
from colmodern.pipeline.load_encoder import encoder_from_config
from colmodern.pipeline.search_device import exact_device, plaid_on
from colmodern.progress import Progress, as_progress
from colmodern.ragged.store import EmbeddingStore
from colmodern.training.mining.collection import open_collection
from colmodern.training.mining.select import select_negatives
from colmodern.training.mining.teachers import CrossEncoder, EncoderTeacher, Teacher
from colmodern.types import Dataset, ScoredDoc
from colmodern.writer_lock import writer_lock

_QUERIES_AT_ONCE = 128  # whose scores are a file, so that a broken run goes on after it


@dataclass(frozen=True)
class Candidates:
    """Of one query: its positives and what was found beside them, best first."""

    query_id: str
    positives: list[str]
    others: list[str]

    @property
    def doc_ids(self) -> list[str]:
        """Positives first."""
        return [*self.positives, *self.others]


def run_mine(config: MineConfig, *, progress: Progress | bool | None = None) -> dict[str, Any]:
    """Write a file of rows of query, documents (the positive first) and scores; return its facts.

    There is a row for each positive of a query that has enough negatives. The facts, with all that
    the rows depend on, are written beside the file, as OUTPUT.json. A broken run goes on: what it
    encoded and scored is kept in OUTPUT.work until the file is whole.

    Raises StorageError when the output is there already, DataError for malformed collections.
    """
    progress = as_progress(progress)
    output = Path(config.output)
    if output.exists():
        raise StorageError(f"{output} is there already; remove it or choose another output")
    dataset = open_collection(config)
    encoder = encoder_from_config(config.encoder)
    key = sha256_of_json(
        [
            config.model_dump(mode="json", exclude={"output"}),
            dataset.corpus.fingerprint,
            [dict(dataset.queries), {q: dict(grades) for q, grades in dataset.qrels.items()}],
            encoder.fingerprint("document"),
        ]
    )
    work = output.with_name(f"{output.name}.work")
    mine = work / key[:16]
    mine.mkdir(parents=True, exist_ok=True)
    with writer_lock(work):
        store = _encode(config, dataset, encoder, mine / "documents", progress)
        candidates = _find(config, dataset, encoder, store, mine, progress)
        teacher = _make_teacher(config, dataset, encoder, store, candidates, mine, progress)
        scores = _score(teacher, dataset, candidates, mine, progress)
        about = {
            "config": config.model_dump(mode="json"),
            "dataset": dataset.description,
            "encoder": encoder.describe(),
            "teacher": teacher.describe(),
            "environment": describe_environment(),
        }
        facts = _write(config, dataset, candidates, scores, about=about)
    shutil.rmtree(work, ignore_errors=True)
    return facts


def _encode(
    config: MineConfig, dataset: Dataset, encoder: Encoder, folder: Path, progress: Progress
) -> EmbeddingStore:
    store, _ = encode_corpus(
        dataset.corpus,
        encoder,
        folder,
        **_titles(config),
        dtype=config.storage.dtype,
        shard_tokens=config.storage.shard_tokens,
        progress=progress,
        devices=config.encoder.devices or (),
    )
    return store


def _find(
    config: MineConfig,
    dataset: Dataset,
    encoder: Encoder,
    documents: EmbeddingStore,
    work: Path,
    progress: Progress,
) -> list[Candidates]:
    """Candidates of every query that has a positive, in the order of the queries."""
    positives = {
        query_id: [doc_id for doc_id, grade in dataset.qrels[query_id].items() if grade > 0]
        for query_id in dataset.queries
    }
    asked = [query_id for query_id, doc_ids in positives.items() if doc_ids]
    chosen = config.negatives
    k = chosen.last_rank + max(len(doc_ids) for doc_ids in positives.values()) + 1
    queries, _ = encode_to_store(
        ((query_id, dataset.queries[query_id]) for query_id in asked),
        len(asked),
        encoder,
        work / "queries",
        role="query",
        fingerprint=sha256_of_json([asked, encoder.fingerprint("query")]),
        dtype="float32",
        shard_tokens=config.storage.shard_tokens,
        progress=progress,
    )
    found: Sequence[Sequence[ScoredDoc]]
    if isinstance(config.index, PlaidIndexConfig):
        settled = plaid_on(config.index, encoder.device)
        build_once(work / "index", documents, settled, progress)
        found, _ = search_index(work / "index", documents, queries, settled, k, progress)
    else:
        index = ExactIndex(
            documents,
            documents.doc_ids,
            memory_budget=config.index.memory_budget,
            device=exact_device(config.index.device, encoder.device),
            device_memory=config.index.device_memory,
            precision=config.index.precision,
        )
        found = index.search_batch(queries.to_memory(), k, progress=progress)
    drop_self = config.dataset and resolve_dataset(config.dataset).drop_self_matches
    candidates = []
    for query_id, results in zip(asked, found, strict=True):
        known = {*positives[query_id], *([query_id] if drop_self else [])}
        others = [doc_id for doc_id, _ in results if doc_id not in known]
        ranked = others[chosen.first_rank - 1 : chosen.last_rank]
        candidates.append(Candidates(query_id, positives[query_id], ranked))
    return candidates


def _make_teacher(
    config: MineConfig,
    dataset: Dataset,
    encoder: Encoder,
    documents: EmbeddingStore,
    candidates: Sequence[Candidates],
    work: Path,
    progress: Progress,
) -> Teacher:
    if config.teacher is None:
        return EncoderTeacher(encoder, documents)
    wanted = {doc_id for one in candidates for doc_id in one.doc_ids}
    if isinstance(config.teacher, CrossEncoderConfig):
        return CrossEncoder(config.teacher, dict(_texts(config, dataset, wanted)))
    teacher = encoder_from_config(config.teacher)
    store, _ = encode_to_store(
        _texts(config, dataset, wanted),
        len(wanted),
        teacher,
        work / "taught",
        role="document",
        fingerprint=sha256_of_json([sorted(wanted), teacher.fingerprint("document")]),
        dtype=config.storage.dtype,
        shard_tokens=config.storage.shard_tokens,
        progress=progress,
        devices=config.teacher.devices or (),
    )
    return EncoderTeacher(teacher, store)


def _texts(config: MineConfig, dataset: Dataset, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Ids and texts, as they are encoded, of the wanted documents."""
    pairs = document_texts(dataset.corpus, **_titles(config))
    return ((doc_id, text) for doc_id, text in pairs if doc_id in wanted)


def _titles(config: MineConfig) -> dict[str, Any]:
    chosen = config.dataset or DatasetConfig()  # pairs have no titles
    return {"join_titles": chosen.join_titles, "title_separator": chosen.title_separator}


def _score(
    teacher: Teacher,
    dataset: Dataset,
    candidates: Sequence[Candidates],
    work: Path,
    progress: Progress,
) -> list[list[float]]:
    """The teacher's score of every candidate, positives first."""
    scores: list[list[float]] = []
    progress.start("score", len(candidates), unit="queries")
    for start in range(0, len(candidates), _QUERIES_AT_ONCE):
        path = work / f"scores-{start}.json"
        group = candidates[start : start + _QUERIES_AT_ONCE]
        if not path.is_file():
            queries = [dataset.queries[one.query_id] for one in group]
            found = teacher.scores(queries, [one.doc_ids for one in group])
            write_json(path, [of_query.tolist() for of_query in found])
        scores += parse_json(path, StorageError, cure=f"remove {path} and run again")
        progress.advance(len(group))
    progress.finish()
    return scores


def _write(
    config: MineConfig,
    dataset: Dataset,
    candidates: Sequence[Candidates],
    scores: Sequence[Sequence[float]],
    *,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Choose negatives and write the rows, all or nothing, and beside them what they depend on."""
    output = Path(config.output)
    wanted = {doc_id for one in candidates for doc_id in one.doc_ids}
    texts = dict(_texts(config, dataset, wanted))
    dropped: Counter[str] = Counter()
    n_rows = n_short = 0
    with replacing(output) as temporary, _lines(temporary, output) as write:
        for stream, (one, found) in enumerate(zip(candidates, scores, strict=True)):
            same = {texts[doc_id] for doc_id in one.positives}
            others = [place for place, doc_id in enumerate(one.others) if texts[doc_id] not in same]
            dropped["same text as a positive"] += len(one.others) - len(others)
            n = len(one.positives)
            of_others = np.array([found[n + place] for place in others], np.float32)
            for positive, score in zip(one.positives, found, strict=False):
                chosen = select_negatives(
                    score, of_others, config.negatives, stream=stream, dropped=dropped
                )
                if chosen is None:
                    n_short += 1
                    continue
                ids = [positive, *(one.others[others[place]] for place in chosen)]
                row = {
                    "query": dataset.queries[one.query_id],
                    "documents": [texts[doc_id] for doc_id in ids],
                    "scores": [score, *(float(of_others[place]) for place in chosen)],
                }
                write(json.dumps(row, ensure_ascii=False) + "\n")
                n_rows += 1
        if not n_rows:
            raise DataError(
                f"no query has {config.negatives.number} negatives ({dict(dropped)} dropped); lower "
                "negatives.number or loosen margin, max_share and ranks"
            )
        counts = {"rows": n_rows, "without_enough_negatives": n_short, "dropped": dict(dropped)}
        facts = {**counts, **about}
        # before the rows get their name: where they are, the facts are
        write_json(output.with_name(f"{output.name}.json"), facts)
    return facts


@contextmanager
def _lines(temporary: Path, output: Path) -> Iterator[Callable[[str], object]]:
    """Writes text, compressed if the output's name says so; the same rows give the same bytes."""
    with temporary.open("wb") as stream:
        if output.suffix != ".gz":
            yield lambda line: stream.write(line.encode())
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            yield lambda line: packed.write(line.encode())
