"""What weights are worth: our own encoder and exact search on judged collections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from colmodern.config.train import TrainConfig
from colmodern.datasets.load import load_dataset
from colmodern.datasets.registry import usual
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.measures import evaluate, parse_measure
from colmodern.index.exact import ExactIndex
from colmodern.pipeline.encode import document_texts
from colmodern.types import Dataset, ScoredDoc


class Found(TypedDict):
    """What an evaluation found; in a trainer's log beside its losses."""

    step: int
    epoch: float
    measures: dict[str, dict[str, float]]  # data set -> measure -> mean over its queries


def load_judged(config: TrainConfig) -> dict[str, Dataset]:
    """The collections of a training's evaluation by name, and its measures tried.

    Raises DataError for one that is not there, ConfigError for an unknown measure.
    """
    chosen = config.evaluation
    for measure in chosen.measures:
        parse_measure(measure)
    return {name: load_dataset(name, max_queries=chosen.max_queries) for name in chosen.datasets}


def measure_weights(
    checkpoint: Path, config: TrainConfig, datasets: dict[str, Dataset]
) -> dict[str, dict[str, float]]:
    """Means of every measure on every collection, of a checkpoint with its own settings.

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
    drop_self = usual(dataset.name).drop_self_matches
    k = config.evaluation.k
    found = index.search_batch(queries, k + drop_self)
    run: dict[str, Sequence[ScoredDoc]] = {}
    for query_id, results in zip(dataset.queries, found, strict=True):
        run[query_id] = [x for x in results if not drop_self or x.doc_id != query_id][:k]
    return evaluate(run, dataset.qrels, config.evaluation.measures).mean


def headline(measures: dict[str, dict[str, float]]) -> float:
    """The number that chooses the best weights: the first measure, averaged over the collections."""
    firsts = [next(iter(values.values())) for values in measures.values()]
    return sum(firsts) / len(firsts)
