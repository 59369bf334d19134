"""How long the stages of an evaluation will take, from doing a little of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from colmodern.config.index import IndexSettings
from colmodern.encoder.encoder import Encoder
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import Searcher, Seconds
from colmodern.progress import Progress

_ENCODED_TOKENS = 12_000  # tokens that the model reads in a timed try
_TRIED_QUERIES = 16


@dataclass(frozen=True)
class StageCosts:
    """What doing a little of each stage cost.

    Attributes:
        encode: Seconds for each token that the model reads.
        search: Seconds of the stages after it.
    """

    encode: float
    search: Seconds


def try_stages(
    searcher: Searcher[IndexSettings],
    encoder: Encoder,
    sample: Sample,
    queries: list[str],
    k: int,
    progress: Progress,
) -> StageCosts:
    """Encode some of the sample, and let the searcher do a little of its stages with it."""
    n_texts = int(np.searchsorted(np.cumsum(sample.inputs), _ENCODED_TOKENS)) + 1
    texts = list(sample.texts[:n_texts])
    encoder.encode_documents(texts[:2])  # what the first call loads and compiles
    progress.note(f"encoding {len(texts)} documents, for the time that it takes")
    start = time.perf_counter()
    documents = encoder.encode_documents(texts)
    encode = (time.perf_counter() - start) / max(1.0, float(sample.inputs[:n_texts].sum()))
    embeddings = encoder.encode_queries(queries[:_TRIED_QUERIES])
    if not documents.n_tokens or not embeddings.n_tokens:
        return StageCosts(encode, _no_time)
    return StageCosts(encode, searcher.time(documents, embeddings, encoder, k, progress))


def seconds_by_stage(sample: Sample, costs: StageCosts) -> dict[str, Total]:
    """Stage -> seconds; intervals are those of the number of tokens alone."""
    read = sample.n_query_inputs
    encode = Total(*((n + read) * costs.encode for n in sample.input_tokens))
    return {"encode": encode, **costs.search(sample)}


def _no_time(sample: Sample) -> Mapping[str, Total]:
    return {"search": Total(0.0, 0.0, 0.0)}
