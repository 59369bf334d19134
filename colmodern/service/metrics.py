"""What is counted, in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = tuple(4.0**power for power in range(2, 9))  # 16 to 65,536
_UNKNOWN_PATH = "(unknown)"  # every path that no route has: their names are the clients'


class IndexFacts(Protocol):
    """What is shown of a served index."""

    @property
    def n_docs(self) -> int:
        """Documents in it."""

    @property
    def version(self) -> str:
        """Digest of its manifest."""


class Metrics:
    """The metrics of one service, in a registry of their own.

    Attributes:
        batch_tokens: Histogram of the tokens of encoded batches, by role.
        queue_depth: Gauge of the requests that wait for the encoder or for a search, by queue.
        truncated_tokens: Counter of the tokens that a length limit cut off, by role.
    """

    def __init__(self, indexes: Callable[[], Iterable[tuple[str, IndexFacts]]]) -> None:
        """Register the metrics.

        Args:
            indexes: Gives the names and facts of the indexes as they are now.
        """
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "colmodern_requests", "Requests answered.", ["path", "code"], registry=registry
        )
        self._seconds = Histogram(
            "colmodern_request_seconds",
            "Seconds of requests in each stage; total is all of a request.",
            ["path", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_tokens = Histogram(
            "colmodern_batch_tokens",
            "Tokens of encoded batches.",
            ["role"],
            buckets=_TOKENS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "colmodern_queue_depth", "Requests that wait.", ["queue"], registry=registry
        )
        self.truncated_tokens = Counter(
            "colmodern_truncated_tokens",
            "Tokens of texts beyond a length limit.",
            ["role"],
            registry=registry,
        )
        registry.register(_IndexCollector(indexes))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def count_request(
        self, path: str | None, code: int, seconds: float, stages: dict[str, float]
    ) -> None:
        """Count an answered request.

        Args:
            path: Template of its route, None where there is none.
            code: Status of the answer.
            seconds: Its whole time.
            stages: Seconds of each stage.
        """
        path = _UNKNOWN_PATH if path is None else path
        self._requests.labels(path, code).inc()
        self._seconds.labels(path, "total").observe(seconds)
        for stage, duration in stages.items():
            self._seconds.labels(path, stage).observe(duration)

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class _IndexCollector(Collector):
    """Facts of the indexes, read when the metrics are."""

    def __init__(self, indexes: Callable[[], Iterable[tuple[str, IndexFacts]]]) -> None:
        self._indexes = indexes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        documents = GaugeMetricFamily(
            "colmodern_index_documents", "Documents of an index.", labels=["index"]
        )
        versions = GaugeMetricFamily(
            "colmodern_index_version_info",
            "The version of an index, as a label; always 1.",
            labels=["index", "version"],
        )
        for name, facts in self._indexes():
            documents.add_metric([name], facts.n_docs)
            versions.add_metric([name, facts.version], 1)
        yield documents
        yield versions
