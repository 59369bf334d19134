"""Every setting of a training, with its meaning and unit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from colmodern.config.fields import FolderName, HomePath, SettingsModel
from colmodern.config.load import build, parse_overrides
from colmodern.config.read import read_values


class TrainedEncoderConfig(SettingsModel):
    """Where training begins, and what PyLate is told of it; null: as the checkpoint says."""

    model: str = Field(
        description="a backbone, which gets a new projection, or a late-interaction checkpoint to "
        "continue from: folder, hub name or package:NAME/FOLDER"
    )
    revision: str | None = Field(None, description="hub branch, tag or commit")
    trust_remote_code: bool = Field(False, description="run Python code that the checkpoint brings")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa",
        description="implementation of attention; flash_attention_2 needs the package flash-attn",
    )
    projection_dim: int | None = Field(
        None, ge=1, description="width of a backbone's new projection; null: 128"
    )
    query_length: int | None = Field(
        None, ge=4, description="number of tokens of a query; null on a backbone: 32"
    )
    document_length: int | None = Field(
        None, ge=4, description="number of tokens of a document; null on a backbone: 180"
    )
    query_marker: str | None = Field(
        None,
        description='token after the first special token of a query; null on a backbone: "[Q] "',
    )
    document_marker: str | None = Field(
        None,
        description='token after the first special token of a document; null on a backbone: "[D] "',
    )
    query_prompt: str | None = Field(None, description="text before every query")
    document_prompt: str | None = Field(None, description="text before every document")
    query_expansion: bool | None = Field(
        None, description="fill short queries with [MASK]; null on a backbone: true"
    )
    attend_to_expansion: bool | None = Field(
        None, description="let the query's own tokens attend to the expansion tokens"
    )
    skiplist: tuple[str, ...] | None = Field(
        None,
        description="tokens of documents that take no part in MaxSim; null on a backbone: punctuation",
    )


class ContrastiveConfig(SettingsModel):
    """The positive against all other documents of the batch, mined negatives among them."""

    kind: Literal["contrastive"] = Field("contrastive", description="PyLate's Contrastive")
    temperature: float = Field(1.0, gt=0, description="number that scores are divided by")
    gather: bool = Field(False, description="take the documents of all GPUs as negatives")


class CachedContrastiveConfig(SettingsModel):
    """Contrastive loss by GradCache, for batches that do not fit into memory at once."""

    kind: Literal["cached_contrastive"] = Field(
        "cached_contrastive", description="PyLate's CachedContrastive"
    )
    temperature: float = Field(1.0, gt=0, description="number that scores are divided by")
    gather: bool = Field(False, description="take the documents of all GPUs as negatives")
    mini_batch: int = Field(32, ge=1, description="number of queries in memory at once")


class DistillationConfig(SettingsModel):
    """KL divergence between a teacher's scores of a query's documents and the model's."""

    kind: Literal["distillation"] = Field("distillation", description="PyLate's Distillation")
    normalize: bool = Field(True, description="scale the model's scores to 0 to 1 for each query")
    normalize_teacher: bool = Field(
        True,
        description="scale the teacher's scores too; false: they are used as the data has them",
    )
    temperature: float = Field(
        1.0,
        gt=0,
        description="number that both scores are divided by after scaling; below 1 sharpens",
    )


Objective = ContrastiveConfig | CachedContrastiveConfig | DistillationConfig
Kind = Literal["pairs", "triples", "scores"]


class SourceConfig(SettingsModel):
    """One set of training examples."""

    path: str = Field(
        description="a file of JSON lines (.jsonl, .jsonl.gz) or a .parquet file, else a folder in "
        "a hub set's layout or a hub name"
    )
    kind: Kind = Field(
        description="pairs: query, positive; triples: query, positive, negative (or a list, "
        "negatives); scores: query, documents (a list) and the teacher's scores (a list)"
    )
    weight: float = Field(
        1.0,
        gt=0,
        description="number of times that each row is seen in an epoch; 0.5: half of the rows, by the seed",
    )
    max_rows: int | None = Field(None, ge=1, description="number of first rows to keep")
    n_ways: int | None = Field(
        None,
        ge=2,
        description="number of first documents of a query to keep, the positive of triples included; "
        "null: all, and every row must have as many",
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub set")
    subset: str | None = Field(None, description="config of a hub set that has the rows")
    split: str = Field("train", description="split of a hub set")
    queries: str | None = Field(
        None, description="config of a hub set with query_id and text, where its rows are ids"
    )
    documents: str | None = Field(
        None, description="config of a hub set with document_id and text; needs queries"
    )

    @model_validator(mode="after")
    def _has_texts(self) -> SourceConfig:
        if (self.queries is None) != (self.documents is None):
            raise ValueError("queries and documents come together; give both or neither")
        if self.queries is not None and self.kind != "scores":
            raise ValueError(f"rows of ids are of kind scores, not {self.kind}; change the kind")
        if self.queries is not None and self.n_ways is None:
            raise ValueError("rows of ids may differ in length; give n_ways, as 32")
        if self.kind == "pairs" and self.n_ways is not None:
            raise ValueError(f"pairs have one document per query; leave out n_ways={self.n_ways}")
        return self


class OptimisationConfig(SettingsModel):
    """How the weights are moved."""

    batch_size: int = Field(16, ge=1, description="number of queries in a batch of one GPU")
    gradient_accumulation: int = Field(
        1, ge=1, description="number of batches for each update of the weights"
    )
    learning_rate: float = Field(1e-5, gt=0, description="highest learning rate")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises"
    )
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="course of the learning rate after the warm-up"
    )
    epochs: float = Field(
        1.0, gt=0, description="number of passes through the data; max_steps takes precedence"
    )
    max_steps: int | None = Field(
        None, ge=1, description="number of updates of the weights; null: epochs decides"
    )
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = Field(
        1.0, gt=0, description="length to which longer gradients are shortened"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="type of the computation; weights stay in float32"
    )
    gradient_checkpointing: bool = Field(False, description="use less memory for a third more work")
    no_duplicates: bool = Field(
        False,
        description="keep a text from being twice in a batch, where its copy would be a false negative",
    )
    device: Literal["auto", "cpu"] = Field("auto", description="auto: the GPU where there is one")
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="seed of a new projection, of the order of rows and of dropout",
    )


class TrainEvaluationConfig(SettingsModel):
    """What the weights are measured on while they are trained, by exact MaxSim."""

    datasets: tuple[str, ...] = Field(
        (),
        description="fetched sets, for example nanobeir/scifact, stdlib, or folders in the BEIR layout",
    )
    every: int | None = Field(
        None, ge=1, description="number of steps between evaluations; null: only at the end"
    )
    at_start: bool = Field(True, description="evaluate before the first step too")
    measures: tuple[str, ...] = Field(
        ("nDCG@10",),
        min_length=1,
        description="measures, as ir_measures names them; the first one chooses the best weights",
    )
    k: int = Field(100, ge=1, description="number of documents to retrieve for each query")
    max_queries: int | None = Field(
        None, ge=1, description="number of first queries of each set to keep"
    )


class CheckpointsConfig(SettingsModel):
    """What is kept on disk, so that a killed training can be resumed.

    They hold pickled files of torch beside the weights, which only the same run folder reads again.
    """

    every: int = Field(
        500,
        ge=1,
        description="number of steps between checkpoints; an interrupted training loses at most these",
    )
    keep: int = Field(
        2, ge=1, description="number of checkpoints to keep; all are removed when training ends"
    )


class CardConfig(SettingsModel):
    """What the model card says that a run cannot know."""

    licence: str | None = Field(
        None, description="licence of the model, as the hub names it, for example apache-2.0"
    )
    language: tuple[str, ...] = Field((), description="codes of languages, for example [en]")
    about: str | None = Field(None, description="a sentence on what the model is for")


class TrainConfig(SettingsModel):
    """One training, from a backbone or checkpoint to a checkpoint.

    On several GPUs: ``accelerate launch -m colmodern train CONFIG``, or ``torchrun`` in its place.
    """

    name: FolderName = Field(description="name of the run and of its folder")
    encoder: TrainedEncoderConfig
    objective: Annotated[Objective, Field(discriminator="kind")] = Field(
        description="loss that training minimises"
    )
    data: tuple[SourceConfig, ...] = Field(
        min_length=1, description="sets of examples; all rows of a batch are from one of them"
    )
    optimisation: OptimisationConfig = OptimisationConfig()
    evaluation: TrainEvaluationConfig = TrainEvaluationConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    weights: Literal["best", "last"] = Field(
        "best",
        description="weights that become the model: the best by evaluation, where there is one, or the last",
    )
    log_every: int = Field(10, ge=1, description="number of steps for each point of the curves")
    card: CardConfig = CardConfig()
    output: HomePath = Field("runs", description="folder of all runs")

    @model_validator(mode="after")
    def _data_fit_the_objective(self) -> TrainConfig:
        wants_scores = self.objective.kind == "distillation"
        for position, source in enumerate(self.data):
            if (source.kind == "scores") != wants_scores:
                known = "scores" if wants_scores else "pairs or triples"
                raise ValueError(
                    f"data.{position} is of kind {source.kind}, but {self.objective.kind} learns from "
                    f"{known}; change the objective or the data"
                )
        return self

    @model_validator(mode="after")
    def _batch_has_negatives(self) -> TrainConfig:
        has_pairs = any(source.kind == "pairs" for source in self.data)
        if self.optimisation.batch_size < 2 and has_pairs:
            raise ValueError(
                "optimisation.batch_size=1 leaves pairs without a negative; give at least 2"
            )
        return self


def load_train_config(path: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training's config, and what it extends; its name is the file's unless it has one.

    Args:
        path: YAML file of the training.
        overrides: Settings to replace, as "optimisation.seed=1"; values are YAML.

    Raises:
        ConfigError: A setting is wrong; the message has all faults at once.
    """
    path = Path(path)
    values = read_values(path)
    values.setdefault("name", path.stem)
    merged = parse_overrides(overrides, values)
    return build(TrainConfig, merged, source=str(path), overrides=overrides)
