"""Every setting of mining hard negatives, with its meaning and unit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from colmodern.config.fields import HomePath, SettingsModel
from colmodern.config.index import ExactIndexConfig, IndexConfig
from colmodern.config.load import build, parse_overrides
from colmodern.config.models import DatasetConfig, EncoderConfig, StorageConfig
from colmodern.config.read import read_values, with_registry


class EncoderTeacherConfig(EncoderConfig):
    """Scores by exact MaxSim of an encoder's token embeddings."""

    kind: Literal["encoder"] = Field("encoder", description="a late-interaction model")


class CrossEncoderConfig(SettingsModel):
    """Scores by a transformers sequence classifier with one label, that reads both texts at once."""

    kind: Literal["cross_encoder"] = Field(
        "cross_encoder", description="a model that reads both texts at once"
    )
    model: str = Field(description="folder, hub name, or package:NAME/FOLDER")
    revision: str | None = Field(None, description="hub branch, tag or commit")
    trust_remote_code: bool = Field(False, description="run Python code that the checkpoint brings")
    device: str = Field("auto", description="where the model runs")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="type of the weights"
    )
    batch_size: int = Field(32, ge=1, description="number of pairs of texts in a batch")
    max_length: int | None = Field(
        None,
        ge=8,
        description="number of tokens of a pair; longer documents are cut; null: what the model takes",
    )
    activation: Literal["none", "sigmoid"] = Field(
        "none",
        description="none: the model's number itself is the score; sigmoid: it is mapped to 0 to 1",
    )


TeacherConfig = EncoderTeacherConfig | CrossEncoderConfig


class NegativesConfig(SettingsModel):
    """Rules that choose the negatives of a query among its candidates."""

    number: int = Field(
        15, ge=1, description="number of negatives of each query; queries with fewer are left out"
    )
    first_rank: int = Field(
        1, ge=1, description="first rank that is looked at, positives not counted"
    )
    last_rank: int = Field(100, ge=1, description="last rank that is looked at")
    choose: Literal["top", "random"] = Field(
        "top", description="top: the best ranked of those that are left; random: by chance"
    )
    margin: float | None = Field(
        None,
        description="least difference between the teacher's score of the positive and that of a negative",
    )
    max_share: float | None = Field(
        None,
        gt=0,
        description="largest share of the positive's teacher score that a negative may have, for example "
        "0.95; a document with a higher score is taken for a positive that nobody judged",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the choice by chance")

    @model_validator(mode="after")
    def _ranks_hold_the_number(self) -> NegativesConfig:
        room = self.last_rank - self.first_rank + 1
        if room < self.number:
            raise ValueError(
                f"ranks {self.first_rank} to {self.last_rank} hold {max(0, room)} documents, fewer than "
                f"number={self.number}; raise last_rank or lower number"
            )
        return self


class MineConfig(SettingsModel):
    """From queries, positives and a collection to rows of query, documents and scores."""

    dataset: DatasetConfig | None = Field(
        None, description="a collection with judgments; documents above grade 0 are positives"
    )
    pairs: str | None = Field(
        None,
        description="file with rows of query and positive, in place of dataset; its positives are "
        "the documents",
    )
    max_rows: int | None = Field(None, ge=1, description="number of first rows of pairs to keep")
    encoder: EncoderConfig = Field(description="encoder that finds the candidates")
    storage: StorageConfig = StorageConfig()
    index: IndexConfig = Field(
        ExactIndexConfig(), discriminator="kind", description="index that searches the embeddings"
    )
    teacher: Annotated[TeacherConfig, Field(discriminator="kind")] | None = Field(
        None,
        description="model whose scores are written; null: the encoder that finds the candidates",
    )
    negatives: NegativesConfig = NegativesConfig()
    output: HomePath = Field(
        description="file of JSON lines to write; its name ends in .jsonl or .jsonl.gz"
    )
    work: HomePath | None = Field(
        None,
        description="folder for what is encoded, found and scored; it stays for further runs; "
        "null: OUTPUT.work, which is removed when the rows are written",
    )

    @field_validator("index", "teacher", mode="before")
    @classmethod
    def _has_a_kind(cls, value: object, info: Any) -> object:
        usual = {"index": "exact", "teacher": "encoder"}[info.field_name]
        return {"kind": usual, **value} if isinstance(value, dict) else value

    @field_validator("output")
    @classmethod
    def _is_a_file_of_lines(cls, value: str) -> str:
        if not value.endswith((".jsonl", ".jsonl.gz")):
            raise ValueError(f"{value!r} is not a file of lines; end it in .jsonl or .jsonl.gz")
        return value

    @model_validator(mode="after")
    def _has_one_source(self) -> MineConfig:
        if (self.dataset is None) == (self.pairs is None):
            raise ValueError("give either dataset or pairs")
        return self


def load_mine_config(path: Path | str | None, overrides: Sequence[str] = ()) -> MineConfig:
    """Read a config of mining, and what it extends; without a file the overrides are all of it.

    Args:
        path: YAML file of the mining; None: the overrides are all of it.
        overrides: Settings to replace, as "negatives.number=7"; values are YAML.

    Raises:
        ConfigError: A setting is wrong; the message has all faults at once.
    """
    values = {} if path is None else read_values(Path(path))
    if path is not None and "dataset" in values:
        values = with_registry(Path(path), values)
    source = "command line" if path is None else str(path)
    merged = parse_overrides(overrides, values)
    return build(MineConfig, merged, source=source, overrides=overrides)
