"""Measures of a checkpoint during training: our own encoder and exact search on judged collections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from colmodern.config.train import TrainConfig
from colmodern.datasets.load import load_dataset
from colmodern.datasets.names import set_defaults
from colmodern.encoder.encoder import Encoder
from colmodern.encoding.store import document_texts
from colmodern.evaluation.measures import evaluate, parse_measure
from colmodern.index.exact.index import ExactIndex
from colmodern.types import Dataset, ScoredDoc


class EvaluationEntry(TypedDict):
    """An evaluation's entry in a trainer's log, beside the entries of losses."""

    step: int
    epoch: float
    measures: dict[str, dict[str, float]]  # data set -> measure -> mean over its queries


def load_judged(config: TrainConfig) -> dict[str, Dataset]:
    """The collections of a training's evaluation by name; its measures are checked too.

    Raises:
        DataError: A collection does not exist.
        ConfigError: A measure is unknown.
    """
    evaluation = config.evaluation
    for measure in evaluation.measures:
        parse_measure(measure)
    return {
        name: load_dataset(name, max_queries=evaluation.max_queries) for name in evaluation.datasets
    }


def measure_weights(
    checkpoint: Path, config: TrainConfig, datasets: dict[str, Dataset]
) -> dict[str, dict[str, float]]:
    """The mean of every measure on every collection, for a checkpoint with its own settings.

    All embeddings of a collection are in memory.
    """
    encoder = Encoder.from_pretrained(
        checkpoint,
        device=config.optimisation.device,
        dtype=config.optimisation.dtype,
        trust_remote_code=config.encoder.trust_remote_code,
    )
    return {name: _measure(encoder, config, dataset) for name, dataset in datasets.items()}


def _measure(encoder: Encoder, config: TrainConfig, dataset: Dataset) -> dict[str, float]:
    doc_ids, texts = zip(*document_texts(dataset.corpus, join_titles=True), strict=True)
    index = ExactIndex(encoder.encode_documents(texts), doc_ids, device=encoder.device)
    queries = encoder.encode_queries(dataset.queries.values())
    drop_self = set_defaults(dataset.name).drop_self_matches
    k = config.evaluation.k
    most = max(map(len, dataset.excluded.values()), default=0)
    rankings = index.search_batch(queries, k + drop_self + most)
    run: dict[str, Sequence[ScoredDoc]] = {}
    for query_id, results in zip(dataset.queries, rankings, strict=True):
        excluded = {*dataset.excluded.get(query_id, ()), *([query_id] if drop_self else ())}
        run[query_id] = [x for x in results if x.doc_id not in excluded][:k]
    return evaluate(run, dataset.qrels, config.evaluation.measures).mean


def headline(measures: dict[str, dict[str, float]]) -> float:
    """The number that decides which weights are best: the first measure's mean over collections."""
    firsts = [next(iter(values.values())) for values in measures.values()]
    return sum(firsts) / len(firsts)
