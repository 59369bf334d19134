"""One config in, one run folder out: the place where encoder, index and collection meet."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from colmodern.config.load import dump
from colmodern.config.models import EncoderConfig, EvalConfig
from colmodern.datasets.load import load_dataset
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.measures import Evaluation, evaluate, parse_measure
from colmodern.evaluation.trec import read_run, write_qrels, write_run
from colmodern.files import sha256_of_json, staging, write_json, write_text
from colmodern.index.exact import ExactIndex
from colmodern.pipeline.encode import corpus_key, encode_corpus, encode_to_store
from colmodern.pipeline.environment import describe_environment
from colmodern.pipeline.load_encoder import encoder_from_config
from colmodern.pipeline.run_folder import CONFIG, check_publishable, publishing
from colmodern.pipeline.write_report import write_report
from colmodern.progress import Progress, Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Dataset, ScoredDoc


@dataclass(frozen=True)
class Timing:
    """What one stage cost when it ran, which may have been in an earlier call."""

    seconds: float
    items: int
    unit: str
    reused: bool

    @property
    def per_second(self) -> float:
        """Items in a second; 0.0 where there were none."""
        return self.items / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class EvalResult:
    """What a finished evaluation says; the same is in the files of its folder."""

    folder: Path
    config: EvalConfig  # as resolved
    evaluation: Evaluation
    timings: Mapping[str, Timing]
    facts: Mapping[str, Any]  # counts and sizes


def run_eval(config: EvalConfig, *, progress: Progress | None = None) -> EvalResult:
    """Encode, search and measure; stages that an earlier call finished are reused.

    Finished stages live in OUTPUT/.cache under the digest of all they depend on, so a changed
    setting recomputes what depends on it and nothing else.

    Raises ColmodernError's subclasses for what the caller can mend.
    """
    progress = progress or Silent()
    folder = Path(config.output) / config.name
    check_publishable(folder)
    for measure in config.measures:
        parse_measure(measure)
    started = datetime.now(timezone.utc)
    progress.note(f"data set {config.dataset.name}")
    dataset = load_dataset(
        config.dataset.name,
        split=config.dataset.split,
        max_queries=config.dataset.max_queries,
        sample_seed=config.dataset.sample_seed,
    )
    encoder = encoder_from_config(config.encoder)
    config = resolve(config, encoder)
    cache = Path(config.output) / ".cache"
    timings: dict[str, Timing] = {}
    documents = _documents(config, dataset, encoder, cache, timings, progress)
    queries = _queries(dataset, encoder, cache, timings, progress)
    run = _search(config, documents, queries, cache, timings, progress, device=encoder.device)
    start = time.perf_counter()
    evaluation = evaluate(run, dataset.qrels, config.measures)
    timings["measure"] = Timing(time.perf_counter() - start, len(dataset.queries), "queries", False)
    result = EvalResult(folder, config, evaluation, timings, _facts(documents, dataset))
    environment = {
        **describe_environment(),
        "started": started.isoformat(timespec="seconds"),
        "model": encoder.describe(),
        "dataset": {
            "name": dataset.name,
            "description": dataset.description,
            "fingerprint": dataset.corpus.fingerprint,
        },
        "embeddings": {"documents": str(documents.folder), "queries": str(queries.folder)},
    }
    _publish(result, dataset, run, environment, progress)
    return result


def resolve(config: EvalConfig, encoder: Encoder) -> EvalConfig:
    """The config with everything filled in that the checkpoint and the machine decide."""
    found: dict[str, Any] = {
        **encoder.settings.as_overrides(),
        "device": encoder.device,
        "revision": encoder.checkpoint.revision or config.encoder.revision,
    }
    encoder_config = EncoderConfig.model_validate({**config.encoder.model_dump(), **found})
    return config.model_copy(update={"encoder": encoder_config})


def _documents(
    config: EvalConfig,
    dataset: Dataset,
    encoder: Encoder,
    cache: Path,
    timings: dict[str, Timing],
    progress: Progress,
) -> EmbeddingStore:
    titles, dtype = config.dataset.join_titles, config.storage.dtype
    key = corpus_key(dataset.corpus, encoder, join_titles=titles, dtype=dtype)
    store, reused = encode_corpus(
        dataset.corpus,
        encoder,
        cache / f"documents-{key[:16]}",
        join_titles=titles,
        dtype=dtype,
        shard_tokens=config.storage.shard_tokens,
        progress=progress,
    )
    timings["encode documents"] = _encoding(store, "documents", reused)
    if reused:
        progress.note(f"encode documents: reused {store.folder}")
    return store


def _queries(
    dataset: Dataset,
    encoder: Encoder,
    cache: Path,
    timings: dict[str, Timing],
    progress: Progress,
) -> EmbeddingStore:
    key = sha256_of_json([list(dataset.queries.items()), encoder.fingerprint("query")])
    store, reused = encode_to_store(
        dataset.queries.items(),
        len(dataset.queries),
        encoder,
        cache / f"queries-{key[:16]}",
        role="query",
        fingerprint=key,
        dtype="float32",
        shard_tokens=1 << 20,
        progress=progress,
    )
    timings["encode queries"] = _encoding(store, "queries", reused)
    if reused:
        progress.note(f"encode queries: reused {store.folder}")
    return store


def _search(
    config: EvalConfig,
    documents: EmbeddingStore,
    queries: EmbeddingStore,
    cache: Path,
    timings: dict[str, Timing],
    progress: Progress,
    *,
    device: str,
) -> dict[str, list[ScoredDoc]]:
    asked = [documents.manifest["fingerprint"], queries.manifest["fingerprint"]]
    key = sha256_of_json([*asked, config.index.kind, config.search.k])
    folder = cache / f"search-{key[:16]}"
    reused = (folder / "run.trec").is_file()
    if reused:
        progress.note(f"search: reused {folder}")
    else:
        index = ExactIndex(
            documents, documents.doc_ids, memory_budget=config.index.memory_budget, device=device
        )
        start = time.perf_counter()
        results = index.search_batch(queries.to_memory(), config.search.k, progress=progress)
        seconds = time.perf_counter() - start
        run = dict(zip(queries.doc_ids, results, strict=True))
        with staging(folder) as staged:
            write_run(staged / "run.trec", run, tag=f"colmodern-{config.index.kind}")
            write_json(staged / "timing.json", {"seconds": seconds})
    timings["search"] = Timing(_seconds(folder / "timing.json"), queries.n_docs, "queries", reused)
    found = read_run(folder / "run.trec")
    return {query_id: found.get(query_id, []) for query_id in queries.doc_ids}


def _seconds(path: Path) -> float:
    return float(json.loads(path.read_text("utf-8"))["seconds"])


def _encoding(store: EmbeddingStore, unit: str, reused: bool) -> Timing:
    return Timing(store.manifest["facts"]["seconds"], store.n_docs, unit, reused)


def _facts(documents: EmbeddingStore, dataset: Dataset) -> dict[str, Any]:
    encoded = documents.manifest["facts"]
    cut, read = encoded["n_cut_tokens"], encoded["n_input_tokens"]
    return {
        "documents": documents.n_docs,
        "queries": len(dataset.queries),
        "tokens": documents.n_tokens,
        "dim": documents.dim,
        "bytes": documents.n_bytes,
        "bytes_per_token": round(documents.n_bytes / max(1, documents.n_tokens), 1),
        "truncated_documents": int(encoded["n_truncated"]),
        "cut_tokens_share": round(cut / max(1, cut + read), 4),
    }


def _publish(
    result: EvalResult,
    dataset: Dataset,
    run: dict[str, list[ScoredDoc]],
    environment: dict[str, Any],
    progress: Progress,
) -> None:
    config_text = dump(result.config)
    with publishing(result.folder, config_text) as (folder, kept):
        write_text(folder / CONFIG, config_text)
        write_json(folder / "environment.json", environment)
        write_run(folder / "run.trec", run, tag=f"colmodern-{result.config.index.kind}")
        write_qrels(folder / "qrels.trec", dataset.qrels)
        write_json(folder / "metrics.json", {"measures": result.evaluation.mean, **result.facts})
        rows = [
            {"query_id": query_id, **values, "retrieved": len(run[query_id])}
            for query_id, values in result.evaluation.per_query.items()
        ]
        write_text(folder / "per_query.jsonl", "".join(_json_line(row) for row in rows))
        write_json(
            folder / "timings.json",
            {
                name: {**asdict(timing), "per_second": round(timing.per_second, 3)}
                for name, timing in result.timings.items()
            },
        )
        write_report(folder / "report.html", result, dataset, run, environment)
    if kept is not None:
        progress.note(f"{result.folder} held the run of another config; it is kept as {kept}")


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
