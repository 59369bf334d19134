"""Settings of each kind of index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from colmodern.checks import shown
from colmodern.config.fields import (
    DeviceMaxMemory,
    HomePath,
    SearchDevice,
    SettingsModel,
    SingleDevice,
    Size,
    with_new_names,
)
from colmodern.config.renamed import replace_names
from colmodern.config.shards import Shards, expect_defaults, expect_here
from colmodern.errors import ConfigError
from colmodern.types import Precision

_DEPTH = 1000  # candidates to rerank of each query, unless the config says how many
# documents of each search that are fused: measured nDCG@10 is that of 1,000, at a tenth of the time
_FUSED_DEPTH = 200


class IndexSettings(SettingsModel):
    """Settings of a kind of index; their old names are taken, too."""

    axes: ClassVar[tuple[str, ...]] = ()  # settings that a sweep can combine
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})  # old names that only this kind had

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
        renewed = with_new_names(values, "index")
        if not cls.renamed or not isinstance(renewed, dict):
            return renewed
        try:
            return replace_names(renewed, cls.renamed, section="index")
        except ConfigError as error:
            raise ValueError(str(error)) from None


class ExactIndexConfig(IndexSettings):
    """Every document is scored with its uncompressed embeddings."""

    kind: Literal["exact"] = Field("exact", description="MaxSim with every document")
    precision: Precision = Field(
        "float32",
        description="precision of the documents that are scored; int8: each token is rounded to 255 steps of "
        "its largest value, which is several times as fast on the CPU; on a GPU it saves memory only",
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


class PlaidIndexConfig(IndexSettings):
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


class ShardedIndexConfig(PlaidIndexConfig):
    """Shards that are searched together: of a new compressed index, or those of a list."""

    kind: Literal["sharded"] = Field("sharded", description="an index in shards")  # type: ignore[assignment]
    shards: Shards = Field(
        description="number of shards to build, by a hash of the documents' ids; or a list of those that "
        "there are: folders of indexes, and addresses as http://HOST:PORT/v1/indexes/NAME"
    )
    own_codecs: bool = Field(
        False, description="take listed shards of different codecs, whose scores differ a little"
    )
    api_key_file: HomePath | None = Field(
        None, description="file whose first line is the key that servers of listed shards ask for"
    )
    timeout_s: float = Field(
        60.0, gt=0, allow_inf_nan=False, description="seconds of a request to a listed shard"
    )

    @property
    def listed(self) -> tuple[str, ...] | None:
        """The shards of a list; None where shards are built."""
        return None if isinstance(self.shards, int) else self.shards

    @model_validator(mode="after")
    def _settings_fit_the_shards(self) -> ShardedIndexConfig:
        expect_defaults(self, are_listed=self.listed is not None)
        if self.rescore:
            expect_here(self.listed or (), "rescore=true")
        return self


class Bm25IndexConfig(IndexSettings):
    """Documents are scored by the words that they share with the query; needs the extra bm25."""

    axes = ("k1", "b")

    kind: Literal["bm25"] = Field("bm25", description="Lucene's BM25, over texts")
    k1: float = Field(
        0.9,
        ge=0,
        allow_inf_nan=False,
        description="how much further occurrences of a word add; k1 and b are those of Anserini's BM25 "
        "for BEIR",
    )
    b: float = Field(
        0.4, ge=0, le=1, description="how much long documents are held back, from 0 to 1"
    )
    stemmer: str | None = Field(
        "porter",
        description="Snowball stemmer of PyStemmer, as porter, english or german; null: words are kept "
        "as they are",
    )
    stop_words: str | tuple[str, ...] | None = Field(
        "english",
        description="words that are left out: a language that bm25s has a list of, or a list; null: none",
    )
    token_pattern: str = Field(
        r"(?u)\b\w\w+\b", description="regular expression of a word in lowercased text"
    )

    @field_validator("token_pattern")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            n_groups = re.compile(value).groups
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is not a regular expression ({error})") from None
        if n_groups > 1:
            raise ValueError("has several groups; write them as (?:...)")
        return value


_FIRST_STAGES = ("bm25", "plaid", "exact", "sharded", "rerank", "hybrid")
_OF_A_SEARCH = "bm25, plaid, exact, sharded, rerank or hybrid"


def _as_settings(value: object) -> object:
    """The name of a kind stands for its default settings; a TREC run is named by its path."""
    if isinstance(value, str):
        return {"kind": value} if value in _FIRST_STAGES else value
    if _kind_of(value) not in _FIRST_STAGES:
        raise ValueError(
            f"{shown(value)} is no first stage; give {_OF_A_SEARCH}, settings such as "
            "{kind: plaid, nbits: 2}, or the path of a TREC run"
        )
    return value


def _kind_of(value: Any) -> str:
    if isinstance(value, str):
        return "run"
    return str(value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None))


FirstStage = Annotated[
    Annotated[HomePath, Tag("run")]
    | Annotated[ExactIndexConfig, Tag("exact")]
    | Annotated[PlaidIndexConfig, Tag("plaid")]
    | Annotated[ShardedIndexConfig, Tag("sharded")]
    | Annotated[Bm25IndexConfig, Tag("bm25")]
    | Annotated["RerankIndexConfig", Tag("rerank")]
    | Annotated["HybridIndexConfig", Tag("hybrid")],
    Discriminator(_kind_of),
    BeforeValidator(_as_settings),
]


class RerankIndexConfig(IndexSettings):
    """MaxSim over the candidates that another search found."""

    axes = ("depth",)
    renamed = MappingProxyType({"n_candidates": "depth"})

    kind: Literal["rerank"] = Field("rerank", description="MaxSim with given candidates")
    candidates: FirstStage = Field(
        Bm25IndexConfig(),
        description=f"where candidates come from: {_OF_A_SEARCH}, also with settings as "
        "{kind: plaid, nbits: 2}, or a TREC run of the same queries",
    )
    depth: int | None = Field(
        None,
        ge=1,
        description="number of first candidates that are scored for each query; null: all of a run, "
        f"{_DEPTH} of an index, or as many as it has",
    )
    scorer: Literal["exact", "plaid"] = Field(
        "exact",
        description="exact: MaxSim with the stored embeddings; plaid: with the tokens of a compressed "
        "index of nbits",
    )
    nbits: Literal[1, 2, 4, 8] = Field(
        4, description="bits for each dimension of a token, where scorer is plaid"
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
        if self.depth is not None or isinstance(self.candidates, str):
            return self.depth
        return min(_DEPTH, self.candidates.most_results or _DEPTH)

    @model_validator(mode="after")
    def _candidates_are_enough(self) -> RerankIndexConfig:
        first = self.candidates
        if isinstance(first, RerankIndexConfig) and first.scorer == self.scorer == "exact":
            raise ValueError(
                "candidates are reranked by exact MaxSim, and would be scored so again; give the candidates "
                "of that search, or its scorer as plaid"
            )
        _expect_enough("candidates", first, self.depth or 1)
        return self


class HybridIndexConfig(IndexSettings):
    """The results of several searches, fused."""

    axes = ("depth",)

    kind: Literal["hybrid"] = Field("hybrid", description="several searches in one ranking")
    of: tuple[FirstStage, ...] = Field(
        (Bm25IndexConfig(), PlaidIndexConfig()),
        min_length=2,
        description=f"the searches: {_OF_A_SEARCH}, also with settings as "
        "{kind: plaid, nbits: 2}, and TREC runs of the same queries",
    )
    fusion: Literal["rrf", "weighted", "interleave"] = Field(
        "rrf",
        description="rrf: sum of weight / (rrf_k + rank); weighted: sum of weight * score, scores of a "
        "query mapped to 0 to 1; interleave: the searches take turns, the first one begins",
    )
    depth: int = Field(
        _FUSED_DEPTH, ge=1, description="number of first documents of each search that are fused"
    )
    rrf_k: int = Field(60, ge=1, description="how little the first ranks differ, for rrf")
    weights: tuple[float, ...] | None = Field(
        None, description="one number for each search; null: all are alike, or tuned"
    )
    tune_split: str | None = Field(
        None,
        description="split whose judgments choose the weights, for example dev; never the one that is "
        "evaluated; null: weights are not tuned",
    )
    tune_measure: str = Field(
        "nDCG@10", description="measure that tuning raises, as ir_measures names it"
    )

    @property
    def most_results(self) -> int:
        """The depth of the config; the searches may have more documents together."""
        return self.depth

    @model_validator(mode="after")
    def _searches_are_enough(self) -> HybridIndexConfig:
        for number, search in enumerate(self.of):
            _expect_enough(f"of.{number}", search, self.depth)
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> HybridIndexConfig:
        if self.weights is not None:
            if len(self.weights) != len(self.of):
                raise ValueError(
                    f"weights has {len(self.weights)} numbers for {len(self.of)} searches in of; give "
                    "one for each"
                )
            if any(not 0 <= weight < float("inf") for weight in self.weights) or not any(
                self.weights
            ):
                raise ValueError("weights are numbers from 0, not all of them 0; correct them")
            if self.tune_split is not None:
                raise ValueError("weights are given or tuned; leave out weights or tune_split")
        if self.tune_split == "test":
            raise ValueError(
                "tune_split is test, which results are reported on; choose another split, as dev or train"
            )
        if self.fusion == "interleave" and (self.weights or self.tune_split):
            raise ValueError("interleave has no weights; leave out weights and tune_split")
        return self


def _expect_enough(name: str, first: FirstStage, depth: int) -> None:
    """Raise ValueError where a search finds fewer documents than another one takes from it."""
    if isinstance(first, str):
        return
    setting = "n_candidates" if isinstance(first, PlaidIndexConfig) else "depth"
    if first.most_results is not None and first.most_results < depth:
        raise ValueError(
            f"{name}.{setting}={first.most_results} is below depth={depth}, the documents taken from "
            "it; raise it, or lower depth"
        )
    if isinstance(first, HybridIndexConfig) and first.tune_split is not None:
        raise ValueError(
            f"{name}.tune_split={first.tune_split}: only the outermost search tunes weights; give weights "
            "there, or leave both out"
        )


RerankIndexConfig.model_rebuild()
HybridIndexConfig.model_rebuild()

IndexConfig = (
    ExactIndexConfig
    | PlaidIndexConfig
    | ShardedIndexConfig
    | Bm25IndexConfig
    | RerankIndexConfig
    | HybridIndexConfig
)
