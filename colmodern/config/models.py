"""Every setting of an evaluation, with its meaning and unit."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from colmodern.config.cluster import ClusterConfig, shared_folder
from colmodern.config.fields import (
    FolderName,
    HomePath,
    PoolFactor,
    SettingsModel,
    Size,
    with_new_names,
)
from colmodern.config.index import (
    ExactIndexConfig,
    IndexConfig,
    IndexSettings,
    ShardedIndexConfig,
)
from colmodern.config.index import (
    PlaidIndexConfig as PlaidIndexConfig,  # for MtebModel, from here too
)
from colmodern.config.model_use import needs_model
from colmodern.types import PassageRank, Score

BUILT_IN_MODEL = "colmodern/tiny"  # stands in where nothing is encoded
_INDEX: TypeAdapter[IndexConfig] = TypeAdapter(Annotated[IndexConfig, Field(discriminator="kind")])


class DatasetConfig(SettingsModel):
    """A collection, and how its texts are read."""

    name: str = Field(
        "stdlib",
        description="a fetched set, for example beir/scifact, the built-in stdlib, a folder in the BEIR "
        "layout, or a name of the registry",
    )
    registry: HomePath | None = Field(
        None,
        description="file that names data sets of one's own; null: datasets.yaml beside the config, if there "
        "is one; the names in ~/.config/colmodern/datasets.yaml are known, too",
    )
    split: str | None = Field(
        None,
        description="split of the judgments; null: the one that the set's results are reported on, else test",
    )
    corpus: str | None = Field(None, description="file of documents; name is then only a label")
    queries: str | None = Field(None, description="file of queries; needs corpus and qrels")
    qrels: str | None = Field(
        None, description="file of judgments, TREC or BEIR; needs corpus and queries"
    )
    fields: str | None = Field(
        None,
        description="file of the documents' fields, JSON lines or parquet with their ids; null: the other "
        "keys of the corpus's own records",
    )
    max_queries: int | None = Field(None, ge=1, description="keep at most this many queries")
    sample_seed: int | None = Field(
        None, description="seed of a random sample of max_queries; null: the first ones"
    )
    join_titles: bool = Field(
        True, description='encode a document as "title text"; false: its text alone'
    )
    title_separator: str = Field(" ", description="text between a title and its document")
    query_template: str | None = Field(
        None,
        description="text that the model reads for each query, with fields of queries.jsonl in braces, for "
        "example '{instruction} {text}'; bm25 reads the query alone; null: the query alone",
    )
    drop_empty_documents: bool | None = Field(
        None, description="leave out documents without text; null: as the set's suite does"
    )
    drop_self_matches: bool | None = Field(
        None,
        description="remove the document that has the query's own id, before the cut at search.k; "
        "null: as the set's suite does",
    )

    @model_validator(mode="after")
    def _files_come_together(self) -> DatasetConfig:
        files = [name for name in ("corpus", "queries", "qrels") if getattr(self, name) is not None]
        if files and len(files) < 3:
            missing = [name for name in ("corpus", "queries", "qrels") if name not in files]
            raise ValueError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; the files "
                "corpus, queries and qrels are given together"
            )
        if files and "name" not in self.model_fields_set:
            raise ValueError("corpus, queries and qrels need a name: what results call them")
        return self


class EncoderConfig(SettingsModel):
    """A model, and changes to the settings of its checkpoint; null keeps the checkpoint's."""

    model: str = Field(description="folder, hub name, or package:NAME/FOLDER")
    revision: str | None = Field(None, description="hub branch, tag or commit")
    trust_remote_code: bool = Field(False, description="run Python code that the checkpoint brings")
    device: str = Field("auto", description="where the model runs")
    devices: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="devices that share the documents, for example [cuda:0, cuda:1]",
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="type of weights and activations; auto: bfloat16 where it is the faster one",
    )
    attention: Literal["auto", "packed", "sdpa", "eager"] = Field(
        "auto",
        description="packed: ModernBERT without padding; sdpa, eager: of transformers; "
        "auto: packed where it fits, else sdpa",
    )
    max_memory: Size | None = Field(
        None,
        description="memory of a batch beside model and result, for example 2G; null: no limit",
    )
    projection_dim: int | None = Field(
        None, ge=1, description="width of a new, untrained projection on a plain backbone"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of a new projection")
    query_length: int | None = Field(
        None, ge=4, description="number of tokens of a query; longer ones are cut"
    )
    document_length: int | None = Field(
        None,
        ge=4,
        description="number of tokens of a document; overflow says what happens to longer ones",
    )
    query_marker: str | None = Field(
        None, description="token after the first special token of a query"
    )
    document_marker: str | None = Field(
        None, description="token after the first special token of a document"
    )
    query_prompt: str | None = Field(None, description="text before every query")
    document_prompt: str | None = Field(None, description="text before every document")
    query_expansion: bool | None = Field(None, description="fill short queries with [MASK]")
    expansion_length: int | None = Field(
        None, ge=4, description="number of tokens that short queries are filled up to"
    )
    expansion_token: str | None = Field(
        None, description="token that short queries are filled with"
    )
    attend_to_expansion: bool | None = Field(
        None, description="let the query's own tokens attend to the expansion tokens"
    )
    skiplist: tuple[str, ...] | None = Field(
        None, description="tokens of documents that take no part in MaxSim"
    )
    skip_in_queries: bool | None = Field(None, description="apply the skiplist to queries too")
    strip_text: bool | None = Field(None, description="remove white space around a text")
    lowercase: bool | None = Field(None, description="lowercase a text before it is tokenized")
    overflow: Literal["truncate", "split"] | None = Field(
        None,
        description="truncate: longer documents are cut; split: they are encoded in windows, as one document",
    )
    overlap: int | None = Field(
        None,
        ge=0,
        description="number of tokens that neighbouring windows share; null: an eighth of document_length",
    )
    pool_factor: PoolFactor | None = Field(
        None,
        description="number of tokens for each vector that is kept, for example 1.5; 1: all are kept",
    )
    protected_tokens: int | None = Field(
        None, ge=0, description="number of first vectors of a document that are not pooled"
    )

    def settings(self) -> dict[str, Any]:
        """The fields that override the checkpoint's settings."""
        return {name: getattr(self, name) for name in _SETTINGS if getattr(self, name) is not None}


# the fields from here on are those of EncoderSettings; a test compares the two
_SETTINGS = tuple(EncoderConfig.model_fields)[
    tuple(EncoderConfig.model_fields).index("query_length") :
]


class StorageConfig(SettingsModel):
    """How token embeddings are kept on disk."""

    dtype: Literal["float16", "float32"] = Field("float16", description="type of the stored values")
    shard_tokens: int = Field(
        262_144,
        ge=1,
        description="estimated number of tokens in a shard; an interrupted run loses at most one shard",
    )
    spans: bool = Field(
        False,
        description="keep the characters that each token covers, to show which passages matched",
    )


class SearchConfig(SettingsModel):
    """What is asked of the index."""

    k: int = Field(100, ge=1, description="number of documents to retrieve for each query")
    score: Score = Field(
        "sum",
        description="sum: MaxSim; mean: divided by the number of query tokens, so that scores of different "
        "queries can be compared; ranks are the same",
    )
    passages: PassageRank | None = Field(
        None,
        description="best or sum: the windows of encoder.overflow=split are passages, each a document of the "
        "index, and documents are ranked by the best score of their passages or by the sum of all; null: "
        "the windows of a document are joined",
    )
    filter: dict[str, Any] | None = Field(
        None,
        description="conditions on fields that documents must meet, for example {year: {gte: 2020}}; "
        "null: none",
    )
    filter_field: str | None = Field(
        None,
        description="key of queries.jsonl with further conditions of a query; null: none",
    )

    group_by: str | None = Field(
        None,
        description="field of the documents; of those with the same value only the best one is a result of a "
        "query; null: no groups",
    )

    @field_validator("filter", mode="before")
    @classmethod
    def _has_dates_as_text(cls, value: object) -> object:
        return _plain(value)


def _plain(value: object) -> object:
    """The value with the dates that YAML reads as texts, as JSON has them."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _listed_shards(index: IndexSettings) -> bool:
    return isinstance(index, ShardedIndexConfig) and index.listed is not None


class EvalConfig(SettingsModel):
    """One evaluation, from collection to report."""

    name: FolderName = Field(description="name of the run and of its folder")
    dataset: DatasetConfig = DatasetConfig()
    encoder: EncoderConfig = Field(
        description="the model; kind bm25, which reads words alone, needs none, nor do such and TREC "
        "runs in kind hybrid"
    )
    storage: StorageConfig = StorageConfig()
    index: IndexConfig = Field(
        ExactIndexConfig(), discriminator="kind", description="index that searches the embeddings"
    )
    search: SearchConfig = SearchConfig()
    measures: tuple[str, ...] = Field(
        ("nDCG@10", "RR@10", "R@100"),
        min_length=1,
        description="measures, as ir_measures names them",
    )
    output: HomePath = Field(
        "runs", description="folder of all runs and of their shared embeddings"
    )
    cluster: ClusterConfig | None = Field(
        None,
        description="the Ray cluster that encodes documents, and builds and searches an index of kind "
        "sharded; all of its machines mount output at the same path; null: this machine",
    )
    max_memory: Size | None = Field(
        None,
        description="memory that the whole run may take, for example 8G; a run that cannot fit is refused "
        "before it starts, with the settings that fit (see `colmodern plan`); null: not checked",
    )

    @property
    def needs_model(self) -> bool:
        """Whether a model encodes the queries."""
        return needs_model(self.index)

    @property
    def unread(self) -> set[str]:
        """Sections that this evaluation does not read: ``encoder`` where it needs no model."""
        return set() if self.needs_model else {"encoder"}

    @model_validator(mode="before")
    @classmethod
    def _takes_old_names(cls, values: object) -> object:
        return with_new_names(values, "")

    @model_validator(mode="before")
    @classmethod
    def _words_need_no_model(cls, values: object) -> object:
        if not isinstance(values, dict) or "encoder" in values:
            return values
        try:
            index = _INDEX.validate_python(values.get("index"))
        except ValidationError:  # told of with the other settings
            return values
        return values if needs_model(index) else {**values, "encoder": {"model": BUILT_IN_MODEL}}

    @field_validator("index", mode="before")
    @classmethod
    def _is_exact_by_default(cls, value: object) -> object:
        return {"kind": "exact", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _measures_fit_k(self) -> EvalConfig:
        for measure in self.measures:
            cutoff = re.search(r"@(\d+)$", measure)
            if cutoff and int(cutoff[1]) > self.search.k:
                raise ValueError(
                    f"{measure} needs {cutoff[1]} documents per query, but search.k is {self.search.k}; "
                    "raise search.k or drop the measure"
                )
        return self

    @model_validator(mode="after")
    def _machines_share_the_output(self) -> EvalConfig:
        if self.cluster is not None:
            shared_folder("output", self.output)
            if _listed_shards(self.index):
                raise ValueError(
                    "index.shards lists shards, which are searched where they are; leave cluster out"
                )
        return self

    @model_validator(mode="after")
    def _score_is_of_maxsim(self) -> EvalConfig:
        if self.search.score == "mean" and self.index.kind in ("bm25", "hybrid"):
            raise ValueError(
                f"search.score=mean: scores of kind {self.index.kind} are not MaxSim; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _passages_are_windows(self) -> EvalConfig:
        rank = self.search.passages
        if rank is None:
            return self
        if self.index.kind == "bm25":
            raise ValueError(
                f"search.passages={rank}: kind bm25 reads whole texts, without a model's windows; leave it "
                "out"
            )
        is_elsewhere = self.cluster is not None and isinstance(self.index, ShardedIndexConfig)
        if is_elsewhere or _listed_shards(self.index):
            raise ValueError(
                f"search.passages={rank}: passages are not joined where the shards are listed or on a "
                "cluster; leave search.passages out"
            )
        if self.encoder.overflow != "split":
            raise ValueError(
                f"search.passages={rank}: passages are the windows of encoder.overflow=split; set that, "
                "and encoder.document_length to the tokens of a passage, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _candidates_fit_k(self) -> EvalConfig:
        most = self.index.most_results
        itself = 1 if self.dataset.drop_self_matches else 0
        if most is not None and most < self.search.k + itself:
            also = " and the query itself, which is dropped" if itself else ""
            name = "n_candidates" if hasattr(self.index, "n_candidates") else "depth"
            is_set = name in self.index.model_fields_set
            cure = (
                "raise it, lower search.k, or leave it out"
                if is_set
                else "raise it, or lower search.k"
            )
            raise ValueError(f"index.{name}={most} is below search.k={self.search.k}{also}; {cure}")
        return self
