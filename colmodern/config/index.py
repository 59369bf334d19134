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
        description="of the documents that are scored; int8: each token rounded to 255 steps of its "
        "largest value, several times as fast on the CPU",
    )
    exact_max_memory: Size = Field(
        "1G", description="bytes in use at a time, as 512M or 2G; not used where GPU kernels search"
    )
    device: SearchDevice = Field(
        "auto",
        description="where to search: auto, cpu, cuda, cuda:N, or GPUs that share the documents, as "
        "cuda:0,cuda:1; auto: where the encoder is",
    )
    device_max_memory: DeviceMaxMemory = None


class PlaidIndexConfig(_IndexSettings):
    """A compressed index; null: chosen from the collection and search.k."""

    axes = ("nbits", "nprobe", "n_candidates", "rescore")

    kind: Literal["plaid"] = Field("plaid", description="a compressed index")
    nbits: Literal[1, 2, 4, 8] = Field(4, description="bits for each dimension of a token")
    codec: Literal["pq", "residual"] | None = Field(
        None, description="pq: product quantisation; residual: each dimension alone"
    )
    n_centroids: int | None = Field(None, ge=1, description="that tokens are assigned to")
    seed: int = Field(0, ge=0, lt=2**31 - 1, description="of the sample and of clustering")
    build_max_memory: Size = Field("4G", description="bytes that the build may use, as 2G")
    nprobe: int | None = Field(None, ge=1, description="centroids probed for each query token")
    n_candidates: int | None = Field(
        None, ge=1, description="documents scored with their compressed tokens"
    )
    rescore: bool = Field(False, description="exact scores for the last candidates")
    compare_with_exact: bool = Field(
        True, description="search exactly as well and show what the index loses"
    )
    exact_max_memory: Size = Field(
        "1G", description="bytes in use at a time by that exact search, as 512M or 2G"
    )
    device: SearchDevice = Field(
        "auto",
        description="where to build and search: auto, cpu, cuda, cuda:N, or GPUs that share the "
        "documents, as cuda:0,cuda:1; auto: where the encoder is, if its kernels are there too",
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
        description="where candidates are from: a TREC run of the same queries, or bm25, over the "
        "texts (needs the extra bm25)",
    )
    n_candidates: int | None = Field(
        None,
        ge=1,
        description="documents of each query that are scored, its first candidates; null: all of a "
        f"run, {_BM25_CANDIDATES} of bm25",
    )
    compare_with_exact: bool = Field(
        True, description="search exactly as well and show what the candidates lack"
    )
    exact_max_memory: Size = Field(
        "1G", description="bytes in use at a time by exact search, as 512M or 2G"
    )
    device: SingleDevice = Field(
        "auto",
        description="where to score: auto, cpu, cuda or cuda:N; auto: where the encoder is",
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
