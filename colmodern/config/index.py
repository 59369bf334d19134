"""Settings of each kind of index."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from colmodern.config.fields import (
    DeviceMaxMemory,
    HomePath,
    SearchDevice,
    SettingsModel,
    SingleDevice,
    Size,
    with_new_names,
)
from colmodern.types import Precision

_BM25_CANDIDATES = 1000  # documents of each query, unless the config says how many


class _IndexSettings(SettingsModel):
    """Settings of a kind of index; their old names are taken, too."""

    axes: ClassVar[tuple[str, ...]] = ()  # settings that a sweep can combine

    @property
    def is_compared(self) -> bool:
        """Whether exact search runs beside it, to see what it loses."""
        return False

    @property
    def most_results(self) -> int | None:
        """Documents that a search can return at most; None: all."""
        return None

    @model_validator(mode="before")
    @classmethod
    def _takes_old_names(cls, values: object) -> object:
        return with_new_names(values, "index")


class ExactIndexConfig(_IndexSettings):
    """Every document is scored with its uncompressed embeddings."""

    kind: Literal["exact"] = Field("exact", description="MaxSim with every document")
    precision: Precision = Field(
        "float32",
        description="precision of the documents that are scored; int8: each token is rounded to 255 steps of "
        "its largest value, which is several times as fast on the CPU",
    )
    exact_max_memory: Size = Field(
        "1G",
        description="memory in use at a time, for example 512M; not used where GPU kernels search",
    )
    device: SearchDevice = Field(
        "auto",
        description="device that searches; auto: where the encoder is",
    )
    device_max_memory: DeviceMaxMemory = None


class PlaidIndexConfig(_IndexSettings):
    """A compressed index; null: chosen from the collection and search.k."""

    axes = ("nbits", "nprobe", "n_candidates", "rescore")

    kind: Literal["plaid"] = Field("plaid", description="a compressed index")
    nbits: Literal[1, 2, 4, 8] = Field(4, description="bits for each dimension of a token")
    codec: Literal["pq", "residual"] | None = Field(
        None,
        description="pq: product quantisation; residual: each dimension alone; null: chosen from nbits",
    )
    n_centroids: int | None = Field(
        None,
        ge=1,
        description="number of centroids that tokens are assigned to; null: chosen from the number of tokens",
    )
    seed: int = Field(0, ge=0, lt=2**31 - 1, description="seed of the sample and of clustering")
    build_max_memory: Size = Field(
        "4G", description="memory that the build may use, for example 2G"
    )
    nprobe: int | None = Field(
        None, ge=1, description="number of centroids probed for each query token; null: chosen"
    )
    n_candidates: int | None = Field(
        None,
        ge=1,
        description="number of documents scored with their compressed tokens; null: chosen",
    )
    rescore: bool = Field(
        False,
        description="compute exact scores for the last candidates, from the stored embeddings",
    )
    compare_with_exact: bool = Field(
        True, description="run exact search too, and show what the index loses"
    )
    exact_max_memory: Size = Field(
        "1G", description="memory in use at a time by that exact search, for example 512M"
    )
    device: SearchDevice = Field(
        "auto",
        description="device that builds and searches; auto: where the encoder is, if GPU kernels are there",
    )
    device_max_memory: DeviceMaxMemory = None

    @property
    def is_compared(self) -> bool:
        """As configured."""
        return self.compare_with_exact

    @property
    def most_results(self) -> int | None:
        """The candidates of the config."""
        return self.n_candidates


class RerankIndexConfig(_IndexSettings):
    """Exact MaxSim over the candidates that another search found."""

    axes = ("n_candidates",)

    kind: Literal["rerank"] = Field("rerank", description="MaxSim with given candidates")
    candidates: HomePath = Field(
        "bm25",
        description="where candidates come from: a TREC run of the same queries, or bm25 over the texts, "
        "which needs the extra bm25",
    )
    n_candidates: int | None = Field(
        None,
        ge=1,
        description="number of first candidates that are scored for each query; null: all of a run, "
        f"{_BM25_CANDIDATES} of bm25",
    )
    compare_with_exact: bool = Field(
        True, description="run exact search too, and show what the candidates lack"
    )
    exact_max_memory: Size = Field(
        "1G", description="memory in use at a time by exact search, for example 512M"
    )
    device: SingleDevice = Field(
        "auto",
        description="device that scores; auto: where the encoder is",
    )
    device_max_memory: DeviceMaxMemory = None

    @property
    def is_compared(self) -> bool:
        """As configured."""
        return self.compare_with_exact

    @property
    def most_results(self) -> int | None:
        """The candidates of a query; None: those of the run."""
        if self.n_candidates is None and self.candidates == "bm25":
            return _BM25_CANDIDATES
        return self.n_candidates


IndexConfig = ExactIndexConfig | PlaidIndexConfig | RerankIndexConfig
