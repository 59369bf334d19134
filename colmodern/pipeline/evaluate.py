"""One config in, one run folder out: the place where encoder, index and collection meet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from colmodern.config.load import dump
from colmodern.config.models import EncoderConfig, EvalConfig, PlaidIndexConfig
from colmodern.datasets.load import BUILT_IN, load_dataset
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.fidelity import compare
from colmodern.evaluation.measures import parse_measure
from colmodern.evaluation.trec import write_qrels, write_run
from colmodern.files import write_json, write_text
from colmodern.pipeline.environment import describe_environment
from colmodern.pipeline.load_encoder import encoder_from_config
from colmodern.pipeline.result import EvalResult
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, check_publishable, publishing
from colmodern.pipeline.stages import Stages
from colmodern.pipeline.write_report import write_report
from colmodern.progress import Progress, Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Dataset, Run, ScoredDoc


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
    stages = Stages(config, dataset, encoder, progress)
    documents, queries = stages.encode_documents(), stages.encode_queries()
    index = stages.build_index(documents)
    run = stages.search(documents, queries, index)
    fidelity = None
    if isinstance(config.index, PlaidIndexConfig) and config.index.compare_with_exact:
        exact = stages.search_exactly(documents, queries)
        fidelity = compare(run, exact, dataset.qrels, measures=config.measures, k=config.search.k)
    evaluation = stages.measure(run)
    facts = _facts(config, documents, dataset, index)
    result = EvalResult(folder, config, evaluation, stages.timings, facts, fidelity)
    environment = {
        **describe_environment(),
        "started": started.isoformat(timespec="seconds"),
        "model": encoder.describe(),
        "dataset": {
            "name": dataset.name,
            "source": _source(config),
            "description": dataset.description,
            "fingerprint": dataset.corpus.fingerprint,
        },
        # beside the run folder, so that both can move together
        "embeddings": {
            "documents": os.path.relpath(documents.folder, folder),
            "queries": os.path.relpath(queries.folder, folder),
        },
        "index": None if index is None else os.path.relpath(index, folder),
        "stages": stages.made_in,
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


def _source(config: EvalConfig) -> str:
    """The collection as it is found from anywhere: an absolute folder, or a built-in name."""
    name = config.dataset.name
    return name if name in BUILT_IN else str(Path(name).expanduser().resolve())


def _facts(
    config: EvalConfig, documents: EmbeddingStore, dataset: Dataset, index: Path | None
) -> dict[str, Any]:
    encoded = documents.manifest["facts"]
    cut, read = encoded["n_cut_tokens"], encoded["n_input_tokens"]
    facts = {
        "documents": documents.n_docs,
        "queries": len(dataset.queries),
        "tokens": documents.n_tokens,
        "dim": documents.dim,
        "bytes": documents.n_bytes,
        "bytes_per_token": round(documents.n_bytes / max(1, documents.n_tokens), 1),
        "truncated_documents": int(encoded["n_truncated"]),
        "cut_tokens_share": round(cut / max(1, cut + read), 4),
    }
    if config.encoder.overflow == "split":
        facts |= {"split_documents": int(encoded["n_split"]), "windows": int(encoded["n_windows"])}
    if config.encoder.pool_factor != 1:
        facts |= {
            "pool_factor": config.encoder.pool_factor,
            "tokens_before_pooling": int(encoded["n_scored_tokens"]),
        }
    if index is not None:
        from colmodern.pipeline.index_stage import describe_index  # loads numba

        facts["index"] = describe_index(index)
    return facts


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
        write_json(folder / ENVIRONMENT, environment)
        write_run(folder / "run.trec", run, tag=f"colmodern-{result.config.index.kind}")
        write_qrels(folder / "qrels.trec", dataset.qrels)
        write_json(folder / "metrics.json", _metrics(result))
        write_text(folder / "per_query.jsonl", "".join(map(_json_line, _rows(result, run))))
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


def _metrics(result: EvalResult) -> dict[str, Any]:
    metrics: dict[str, Any] = {"measures": result.evaluation.mean}
    if result.fidelity is not None:
        metrics |= {"exact": result.fidelity.exact.mean, "overlap": result.fidelity.overlap}
    return {**metrics, **result.facts}


def _rows(result: EvalResult, run: Run) -> Iterator[dict[str, Any]]:
    """What each judged query came to."""
    for query_id, values in result.evaluation.per_query.items():
        row = {"query_id": query_id, **values, "retrieved": len(run[query_id])}
        if result.fidelity is not None:
            row |= result.fidelity.per_query[query_id]
            row["exact"] = result.fidelity.exact.per_query[query_id]
        yield row


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
