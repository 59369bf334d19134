"""One config in, one run folder out: the place where encoder, index and collection meet."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from colmodern.config.from_python import eval_config
from colmodern.config.load import dump
from colmodern.config.models import EncoderConfig, EvalConfig
from colmodern.environment import describe_environment, peak_memory_mb
from colmodern.evaluation.fidelity import Fidelity
from colmodern.evaluation.trec import write_qrels, write_run
from colmodern.files import write_json, write_text
from colmodern.passages import PassageHit
from colmodern.pipeline.evaluate.explain import Explain, explainer
from colmodern.pipeline.evaluate.report import write_report
from colmodern.pipeline.evaluate.stages import Stages
from colmodern.pipeline.losses import Loss, fidelity_as_json
from colmodern.pipeline.open.data import source_of
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import EvalJob, load
from colmodern.pipeline.passages import best_passages, doc_ids_of
from colmodern.pipeline.result import EVERYTHING_ELSE, EvalResult, Timing
from colmodern.pipeline.run_folder import (
    CONFIG,
    ENVIRONMENT,
    FIDELITY,
    PASSAGES,
    check_publishable,
    publishing,
)
from colmodern.pipeline.searchers.base import IndexFolders
from colmodern.pipeline.stored_files import FirstStagePaths
from colmodern.progress import Progress, as_progress
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Dataset, Run, ScoredDoc


def run_eval(
    config: EvalConfig | Mapping[str, object] | str | Path,
    overrides: Sequence[str] = (),
    *,
    progress: Progress | bool | None = None,
) -> EvalResult:
    """Encode, search and measure; stages that an earlier call finished are reused.

    Finished stages live in OUTPUT/.cache under the digest of all they depend on, so a changed
    setting recomputes what depends on it and nothing else. As `colmodern eval` from Python::

        result = run_eval("demo", ["search.k=50", "output=runs"])
        result.evaluation.mean["nDCG@10"], result.folder

    Args:
        config: A config file's path, the name of a recipe ("demo"), the settings
            as a mapping, or an EvalConfig.
        overrides: Settings to replace, as "search.k=50"; the values are YAML.
        progress: Receives the steps; default: silent.

    Returns:
        Measures per query and their means (``evaluation``), times, counts, and the run folder,
        which holds the same in files.

    Raises:
        ConfigError: A setting is wrong, or there is no such file or recipe.
        ColmodernError: Its other subclasses name what else the caller can mend.
    """
    progress = as_progress(progress)
    settings = eval_config(config, overrides)
    return run_prepared(prepare(settings, LoadedEncoders(), progress=progress), progress=progress)


def prepare(config: EvalConfig, encoders: LoadedEncoders, *, progress: Progress) -> EvalJob:
    """Check a config, then load its collection and its model.

    Raises as ``run_eval`` does.
    """
    check_publishable(Path(config.output) / config.name)
    prepared = load(config, encoders, progress=progress)
    if prepared.config.max_memory is not None:
        from colmodern.pipeline.plan.check import check_fits  # loads numba

        check_fits(prepared.config, prepared.dataset, prepared.encoder)
    return prepared


def run_prepared(prepared: EvalJob, *, progress: Progress) -> EvalResult:
    """Run a prepared evaluation: encode, search, measure and publish."""
    config, dataset, encoder = prepared.config, prepared.dataset, prepared.encoder
    folder = prepared.folder
    started = datetime.now(timezone.utc)
    stages = Stages(config, dataset, encoder, progress)
    documents, queries = stages.encode_documents(), stages.encode_queries()
    prepared_index = stages.prepare(documents, queries)
    run = stages.search(documents, queries, prepared_index)
    fidelity: Fidelity | None = None
    losses: list[Loss] = []
    if config.index.is_compared:
        exact = stages.search_exactly(documents, queries)
        fidelity, losses = stages.compare(run, exact, prepared_index, queries)
    evaluation = stages.measure(run)
    searcher = stages.searcher
    facts = {**_facts(config, documents, dataset), **searcher.facts(documents, prepared_index)}
    facts["search_device"] = searcher.device
    needs_model = config.needs_model
    facts |= _query_facts(queries) if needs_model else {}
    result = EvalResult(
        folder, config, evaluation, stages.timings, facts, fidelity, losses, searcher.loss_stages,
        stages.measure_stages(run, prepared_index),
    )  # fmt: skip
    index = searcher.index_folder(prepared_index)
    environment = {
        **describe_environment(),
        "started": started.isoformat(timespec="seconds"),
        "model": encoder.describe() if needs_model else {"model": None},
        "dataset": {
            "name": dataset.name,
            "source": source_of(config.dataset),
            "description": dataset.description,
            "revision": dataset.revision,
            "fingerprint": dataset.corpus.fingerprint,
        },
        # relative to the run folder, so that both can move together
        "embeddings": {
            "documents": _from(folder, documents.folder),
            "queries": _from(folder, queries.folder),
        },
        "index": None if index is None else _from(folder, index),
        "first_stages": _all_from(folder, searcher.first_stage_folders(prepared_index)),
        "search": {"device": searcher.device},
        "stages": stages.made_in,
        "inputs": prepared.inputs(),
    }
    explain = explainer(prepared, documents, queries, run, index)
    _publish(result, prepared, run, environment, explain, progress)
    return result


def _from(folder: Path, path: Path) -> str:
    """The way from a run folder, through a link where it is one, to a path."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))


def _all_from(folder: Path, paths: IndexFolders) -> FirstStagePaths:
    """As ``_from``, of the indexes of a search made of others."""
    if isinstance(paths, list):
        return [_all_from(folder, path) for path in paths]
    return None if paths is None else _from(folder, paths)


def _query_facts(queries: EmbeddingStore) -> dict[str, float]:
    """How many queries were cut at query_length, and what share of their tokens that was."""
    encoded = queries.manifest["facts"]
    cut, read = encoded["n_cut_tokens"], encoded["n_input_tokens"]
    return {
        "truncated_queries": int(encoded["n_truncated"]),
        "cut_query_tokens_share": round(cut / max(1, cut + read), 4),
    }


def _facts(config: EvalConfig, documents: EmbeddingStore, dataset: Dataset) -> dict[str, Any]:
    encoded = Counter[str](documents.manifest["facts"])  # a store without documents has no facts
    cut, read = encoded["n_cut_tokens"], encoded["n_input_tokens"]
    facts = {
        "documents": len(doc_ids_of(documents)) or len(dataset.corpus),
        "queries": len(dataset.queries),
        "tokens": documents.n_tokens,
        "dim": documents.dim,
        "bytes": documents.n_bytes,
        "bytes_per_token": round(documents.n_bytes / max(1, documents.n_tokens), 1),
        "truncated_documents": int(encoded["n_truncated"]),
        "cut_tokens_share": round(cut / max(1, cut + read), 4),
        "peak_memory_mb": peak_memory_mb(),
    }
    if config.needs_model:
        facts |= _encoding_facts(config.encoder, encoded)
    if documents.has_passages:
        facts["passages"] = documents.n_docs
    if dataset.missing:
        facts["judgments_of_unknown_documents"] = sum(dataset.missing.values())
    if dataset.n_queries_left_out:
        facts["judged_queries_left_out"] = dataset.n_queries_left_out
    return facts


def _encoding_facts(config: EncoderConfig, encoded: Mapping[str, float]) -> dict[str, Any]:
    """What an encoder that splits or pools made of the documents."""
    facts: dict[str, Any] = {}
    if config.overflow == "split":
        facts |= {"split_documents": int(encoded["n_split"]), "windows": int(encoded["n_windows"])}
    if config.pool_factor != 1:
        facts |= {
            "pool_factor": config.pool_factor,
            "tokens_before_pooling": int(encoded["n_scored_tokens"]),
        }
    return facts


def _publish(
    result: EvalResult,
    prepared: EvalJob,
    run: dict[str, list[ScoredDoc]],
    environment: dict[str, object],
    explain: Explain | None,
    progress: Progress,
) -> None:
    config_text, dataset = dump(result.config, without=result.config.unread), prepared.dataset
    with publishing(result.folder, config_text) as (folder, kept):
        write_text(folder / CONFIG, config_text)
        write_json(folder / ENVIRONMENT, environment)
        write_run(folder / "run.trec", run, tag=f"colmodern-{result.config.index.kind}")
        if any(isinstance(hit, PassageHit) for ranking in run.values() for hit in ranking):
            passages = {query_id: best_passages(ranking) for query_id, ranking in run.items()}
            write_run(folder / PASSAGES, passages, tag=f"colmodern-{result.config.index.kind}")
        write_qrels(folder / "qrels.trec", dataset.qrels)
        write_json(folder / "metrics.json", _metrics(result))
        write_text(
            folder / "per_query.jsonl",
            "".join(map(_json_line, _query_records(result, dataset, run))),
        )
        if result.fidelity is not None:
            write_json(
                folder / FIDELITY,
                fidelity_as_json(result.fidelity, result.losses, result.loss_stages),
            )
        write_report(folder / "report.html", result, dataset, run, environment, explain)
        timings = {**result.timings, **prepared.loading}
        timings[EVERYTHING_ELSE] = _rest(timings, prepared)
        write_json(
            folder / "timings.json",
            {
                name: {**asdict(timing), "per_second": round(timing.per_second, 3)}
                for name, timing in timings.items()
            },
        )
    if kept is not None:
        progress.note(f"{result.folder} held the run of another config; it is kept as {kept}")


def _rest(timings: Mapping[str, Timing], prepared: EvalJob) -> Timing:
    """Time of this call outside its stages: checking and writing, the report included."""
    took = time.perf_counter() - prepared.started
    stages = sum(timing.seconds for timing in timings.values() if not timing.reused)
    # a resumed stage took some of its time in an earlier call
    return Timing(max(0.0, took - stages), len(prepared.dataset.queries), "queries", False)


def _metrics(result: EvalResult) -> dict[str, object]:
    metrics: dict[str, object] = {"measures": result.evaluation.mean}
    if result.fidelity is not None:
        metrics |= {"exact": result.fidelity.exact.mean, "overlap": result.fidelity.overlap}
    if result.stages:
        metrics["stages"] = [stage.as_json() for stage in result.stages]
    return {**metrics, **result.facts}


def _query_records(result: EvalResult, dataset: Dataset, run: Run) -> Iterator[dict[str, object]]:
    """Values of each judged query."""
    for query_id, values in result.evaluation.per_query.items():
        record: dict[str, object] = {"query_id": query_id, "query": dataset.queries[query_id]}
        if query_id in dataset.prompted:
            record["model_query"] = dataset.prompted[query_id]
        record |= {**values, "retrieved": len(run[query_id])}
        if result.fidelity is not None:
            record |= result.fidelity.per_query[query_id]
            record["exact"] = result.fidelity.exact.per_query[query_id]
        yield record


def _json_line(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
