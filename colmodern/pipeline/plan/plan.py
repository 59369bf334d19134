"""From a config to what its run will take."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colmodern.config.models import EvalConfig
from colmodern.encoder.encoder import Encoder
from colmodern.pipeline.open.job import EvalJob
from colmodern.pipeline.plan.memory import find_fitting, memory_by_stage
from colmodern.pipeline.plan.sizes import embedding_bytes, index_bytes
from colmodern.pipeline.plan.timing import seconds_by_stage, try_stages
from colmodern.pipeline.sample import Sample, Total, take_sample
from colmodern.pipeline.searchers.base import SearchTexts
from colmodern.pipeline.searchers.registry import make_searcher
from colmodern.progress import Progress
from colmodern.units import parse_bytes

SAMPLE = 1000  # documents
BITS = (1, 2, 4, 8)


@dataclass(frozen=True, repr=False)
class Plan:
    """What one evaluation will take.

    Attributes:
        disk: "embeddings" and "index, N bits" -> bytes.
        memory: Stage -> the most bytes.
        seconds: Stage -> seconds, empty where nothing was timed.
        search_device: Where the index is built and searched; memory is counted as for the CPU.
        fits: Settings with which it stays below ``max_memory``; None where it does as it is.
    """

    name: str
    dataset: str
    n_docs: int
    n_sampled: int
    n_queries: int
    dim: int
    search_device: str
    tokens: Total
    nbits: int | None  # bits of the config's index; None for exact search
    disk: Mapping[str, Total]
    disk_free: int
    memory: Mapping[str, int]
    max_memory: int | None
    fits: Mapping[str, str] | None
    seconds: Mapping[str, Total]

    def __repr__(self) -> str:
        size = f"n_docs={self.n_docs}, n_queries={self.n_queries}, n_tokens={self.tokens.value:.0f}"
        return f"Plan({self.name!r}, {size}, disk_needed={self.disk_needed:.0f}, peak={self.peak})"

    @property
    def peak(self) -> int:
        """The most memory of any stage."""
        return max(self.memory.values())

    @property
    def disk_needed(self) -> float:
        """Bytes of the embeddings and of the config's index."""
        index = f"index, {self.nbits} bits"
        return sum(size.value for name, size in self.disk.items() if name in ("embeddings", index))

    def as_json(self) -> dict[str, object]:
        """All of it as plain values."""
        values = {**vars(self), "tokens": self.tokens._asdict(), "peak_memory": self.peak}
        values["max_ram"] = self.max_memory  # the name until version 0.2
        values["disk"] = {name: size._asdict() for name, size in self.disk.items()}
        values["seconds"] = {name: time._asdict() for name, time in self.seconds.items()}
        return values


def make_plan(
    prepared: EvalJob, *, size: int = SAMPLE, seed: int = 0, timed: bool, progress: Progress
) -> Plan:
    """Count a sample of the corpus and work out the rest; with ``timed``, do a little of each stage."""
    config, dataset, encoder = prepared.config, prepared.dataset, prepared.encoder
    sample = take_sample(dataset, encoder, config.dataset, size=size, seed=seed)
    searcher = make_searcher(
        config.index,
        encoder.device,
        SearchTexts(dataset.corpus, dataset.queries, config.dataset),
    )
    memory = memory_by_stage(config, encoder, sample)
    limit = None if config.max_memory is None else parse_bytes(config.max_memory, name="max_memory")
    fits = None
    if limit is not None and max(memory.values()) > limit:
        fits = find_fitting(config, encoder, sample, limit)
    seconds: dict[str, Total] = {}
    if timed and sample.texts:
        queries = list(dataset.model_queries.values())
        costs = try_stages(searcher, encoder, sample, queries, config.search.k, progress)
        seconds = seconds_by_stage(sample, costs)
        if not searcher.reads_embeddings:
            del seconds["encode"]
    return Plan(
        config.name,
        dataset.description,
        sample.n_docs,
        len(sample.token_counts),
        sample.n_queries,
        encoder.dim,
        searcher.device,
        sample.tokens,
        searcher.nbits,
        _disk(config, sample, encoder, searcher.n_centroids),
        _free(Path(config.output)),
        memory,
        limit,
        fits,
        seconds,
    )


def _disk(
    config: EvalConfig, sample: Sample, encoder: Encoder, n_centroids: int | None
) -> dict[str, Total]:
    dim, n_docs = encoder.dim, sample.n_docs
    item = 2 if config.storage.dtype == "float16" else 4
    layout = {"dim": dim, "id_bytes": sample.id_bytes}

    def index(tokens: float, nbits: int) -> float:
        return index_bytes(
            tokens,
            n_docs,
            dim=dim,
            nbits=nbits,
            id_bytes=sample.id_bytes,
            n_centroids=n_centroids,
            vocabulary=encoder.n_vocabulary,
        )

    sizes = {
        "embeddings": Total(
            *(embedding_bytes(n, n_docs, item=item, **layout) for n in sample.tokens)  # type: ignore[arg-type]
        )
    }
    for nbits in BITS:
        sizes[f"index, {nbits} bits"] = Total(*(index(n, nbits) for n in sample.tokens))
    return sizes


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
