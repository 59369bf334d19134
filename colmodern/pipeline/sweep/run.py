"""Running a sweep: each encoding, index and search once, whatever was finished before reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colmodern.config.index import IndexConfig
from colmodern.config.sweep import SweepConfig
from colmodern.encoder.encoder import Encoder
from colmodern.evaluation.fidelity import overlap
from colmodern.evaluation.measures import evaluate
from colmodern.evaluation.significance import Estimate, estimate
from colmodern.evaluation.sweep import LengthPoint, Sweep, SweepPoint, shown
from colmodern.pipeline.cache import FOLDER, CacheUse
from colmodern.pipeline.evaluate.stages import RunResults, Stages
from colmodern.pipeline.open.job import EvalJob
from colmodern.pipeline.result import first_stage_seconds
from colmodern.pipeline.searchers.base import Prepared, compared_with
from colmodern.pipeline.sweep.derive import CUT_DOCUMENTS, derive, derive_key
from colmodern.pipeline.sweep.points import Point, Variant
from colmodern.progress import Progress
from colmodern.ragged.store import EmbeddingStore

_OVERLAP_AT = 10


@dataclass(frozen=True)
class _Exact:
    """Exact search on one variant: the truth for all indexes of it."""

    run: RunResults
    per_query: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]
    seconds_per_query: float


def run_points(
    config: SweepConfig, prepared: EvalJob, points: list[Point], progress: Progress
) -> Sweep:
    """Measure every point; what an earlier call finished is not done again.

    Args:
        config: The sweep.
        prepared: The evaluation with its own values.
        points: Points of ``find_points``.
        progress: Receives the steps.
    """
    runner = _SweepRunner(prepared, progress)
    variants = list(dict.fromkeys(point.variant for point in points))
    # the embeddings first: the most work, and all that a later failure would be about
    for variant in variants:
        runner.store(variant)
    reference = max(
        variants, key=lambda variant: (runner.store(variant).n_tokens, variant.cut == "encode")
    )
    longest = max(runner.encoded(variant).n_tokens for variant in variants)
    measured_points = []
    for number, point in enumerate(points, start=1):
        settings = ", ".join(
            f"{axis} {shown(axis, value)}" for axis, value in point.settings.items()
        )
        progress.note(f"point {number} of {len(points)}: {settings}")
        measured_points.append(runner.measure(point, reference, longest))
    lengths = [runner.length_point(variant, reference) for variant in variants]
    several = len({variant.kept_length for variant in variants}) > 1
    described = (
        f"exact search with all tokens of length {shown('document_length', reference.kept_length)}"
    )
    return Sweep(
        config.name,
        prepared.dataset.description,
        config.measures[0],
        measured_points,
        lengths if several else [],
        described,
        runner.values(reference),
    )


class _SweepRunner:
    """Keeps what points share: embeddings, exact results, indexes."""

    def __init__(self, prepared: EvalJob, progress: Progress) -> None:
        self._prepared = prepared
        self._progress = progress
        self._use = CacheUse(Path(prepared.config.output) / FOLDER)
        self._stages = self._stages_of(prepared.config.index, prepared.encoder)
        self._queries = self._stages.encode_queries()
        self._encoded: dict[int, EmbeddingStore] = {}
        self._stores: dict[Variant, EmbeddingStore] = {}
        self._exact: dict[Variant, _Exact] = {}
        self._preparations: dict[tuple[Variant, str], tuple[Prepared, float, float]] = {}

    def encoded(self, variant: Variant) -> EmbeddingStore:
        """The encoding that a variant is made from."""
        length = variant.encoded_length
        if length not in self._encoded:
            # exact search reads embeddings, whatever the index does
            index = compared_with(self._prepared.config.index)
            stages = self._stages_of(index, self._encoder(length))
            self._encoded[length] = stages.encode_documents()
        return self._encoded[length]

    def store(self, variant: Variant) -> EmbeddingStore:
        """The embeddings of a variant."""
        if variant not in self._stores:
            encoded = self.encoded(variant)
            if variant.cut == "encode" and variant.pool_factor == 1:
                self._stores[variant] = encoded
            else:
                encoder = self._encoder(variant.encoded_length)
                key, read = derive_key(encoded, variant, encoder), self._prepared.config.dataset
                self._stores[variant] = derive(
                    encoded,
                    self._stages.folder("documents", key),
                    variant,
                    encoder,
                    self._prepared.dataset.corpus,
                    join_titles=read.join_titles,
                    title_separator=read.title_separator,
                    progress=self._progress,
                )
        return self._stores[variant]

    def exact(self, variant: Variant) -> _Exact:
        """Exact search on a variant."""
        if variant not in self._exact:
            stages = self._stages
            run = stages.search_exactly(self.store(variant), self._queries)
            evaluation = evaluate(run, self._prepared.dataset.qrels, self._prepared.config.measures)
            timing = stages.timings["exact search"]
            seconds = timing.seconds / max(1, timing.items)
            self._exact[variant] = _Exact(run, evaluation.per_query, evaluation.mean, seconds)
        return self._exact[variant]

    def values(self, variant: Variant) -> Estimate:
        """The first measure of exact search on a variant."""
        return estimate([np.array(self._first(self.exact(variant).per_query))])

    def length_point(self, variant: Variant, reference: Variant) -> LengthPoint:
        """What exact search on a variant says of its length."""
        values = self._first(self.exact(variant).per_query)
        return LengthPoint(
            variant.kept_length,
            variant.cut,
            variant.pool_factor,
            self._cut_share(variant),
            self.values(variant),
            self._difference(values, reference),
        )

    def measure(self, point: Point, reference: Variant, longest: int) -> SweepPoint:
        """Build or find the index of a point, search it, and judge what it found.

        Args:
            point: Settings to measure.
            reference: Variant that differences are taken from.
            longest: Tokens of the largest encoding, for bytes per token.
        """
        store, exact = self.store(point.variant), self.exact(point.variant)
        config = self._prepared.config
        run, latency = exact.run, (exact.seconds_per_query * 1e3,) * 2
        n_bytes, build_seconds = store.n_bytes, 0.0
        is_exact = self._stages.searcher.is_exact
        if not is_exact:
            stages = self._stages_of(point.index, self._prepared.encoder)
            prepared, build_seconds, before = self._preparation(point, stages)
            n_bytes = stages.searcher.searched_bytes(store, prepared)
            run, latencies = stages.search_each(store, self._queries, prepared)
            median, most = (np.percentile(latencies, [50, 95]) + before) * 1e3
            latency = (float(median), float(most))
        evaluation = evaluate(run, self._prepared.dataset.qrels, config.measures)
        estimates = {
            name: estimate([np.array([row[name] for row in evaluation.per_query.values()])])
            for name in evaluation.mean
        }
        cutoffs = sorted({min(_OVERLAP_AT, config.search.k), config.search.k})
        return SweepPoint(
            settings=point.settings,
            is_exact=is_exact,
            cut_share=self._cut_share(point.variant),
            measures=estimates,
            exact=exact.mean,
            overlap={
                f"overlap@{n}": float(
                    np.mean([overlap(run[q], best, n) for q, best in exact.run.items()])
                )
                for n in cutoffs
            },
            difference=self._difference(self._first(evaluation.per_query), reference),
            latency_ms=latency,
            n_tokens=store.n_tokens,
            n_bytes=n_bytes,
            bytes_per_token=n_bytes / max(1, longest),
            build_seconds=build_seconds,
        )

    def _preparation(self, point: Point, stages: Stages) -> tuple[Prepared, float, float]:
        """What a point's search needs on disk, and the seconds of its making; made once.

        The last number is the seconds of a query in the searches that it begins with.
        """
        store = self.store(point.variant)
        key = (point.variant, stages.searcher.preparation_key(store))
        if key not in self._preparations:
            prepared = stages.prepare(store, self._queries)
            build = stages.timings.get("build index")
            first = stages.searcher.first_stages(prepared)
            before = first_stage_seconds(stages.timings, first)
            self._preparations[key] = prepared, build.seconds if build else 0.0, before
        return self._preparations[key]

    def _difference(self, values: list[float], reference: Variant) -> Estimate:
        truth = self._first(self.exact(reference).per_query)
        return estimate([np.array(values) - np.array(truth)])

    def _first(self, per_query: Mapping[str, Mapping[str, float]]) -> list[float]:
        """Values of the first measure, in the order of the judged queries."""
        measure = self._prepared.config.measures[0]
        return [per_query[query][measure] for query in self._prepared.dataset.qrels]

    def _cut_share(self, variant: Variant) -> float:
        store = self.store(variant)
        cut: float = store.manifest["facts"].get(CUT_DOCUMENTS, 0)
        return cut / max(1, store.n_docs)

    def _encoder(self, length: int) -> Encoder:
        """The evaluation's encoder at a document_length, without pooling."""
        encoder = self._prepared.encoder
        changed = {"document_length": length, "pool_factor": 1}
        return encoder.with_settings(**{**encoder.settings.as_overrides(), **changed})

    def _stages_of(self, index: IndexConfig, encoder: Encoder) -> Stages:
        config = self._prepared.config.model_copy(update={"index": index})
        use = self._use  # one use for the whole sweep: nothing of it is pruned while it runs
        return Stages(config, self._prepared.dataset, encoder, self._progress, use=use)
