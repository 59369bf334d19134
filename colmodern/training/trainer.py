"""The sentence-transformers trainer with PyLate's collator, joined as PyLate's documentation does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from colmodern.config.train import TrainConfig
from colmodern.optional import require
from colmodern.training.losses import pylate

if TYPE_CHECKING:
    import datasets
    from pylate.models import ColBERT
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sampler import MultiDatasetDefaultBatchSampler
    from torch.utils.data import DataLoader
    from transformers import TrainerControl, TrainerState, TrainingArguments


def make_trainer(
    config: TrainConfig,
    model: ColBERT,
    loss: torch.nn.Module,
    examples: Mapping[str, datasets.Dataset],
    *,
    work: Path,
    callbacks: Sequence[TrainerCallback],
) -> SentenceTransformerTrainer:
    """A trainer whose batches each come from one set of examples.

    Args:
        config: The training's config.
        model: The model to train.
        loss: The loss of ``make_loss``.
        examples: The sets of examples by name.
        work: Folder of the trainer's checkpoints.
        callbacks: Callbacks beside the library's own.

    Raises:
        MissingExtraError: Sentence-transformers or accelerate is not installed.
    """
    import datasets
    import transformers

    library = require("sentence_transformers", extra="train")
    require("accelerate", extra="train")

    class Trainer(library.SentenceTransformerTrainer):  # type: ignore[misc, name-defined]
        """The library's trainer without its model card, and with a fixed order of every epoch."""

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """Collect nothing: the model card is ours."""

        def get_train_dataloader(self) -> DataLoader[Any]:
            """The library's data loader, whose samplers are told the epoch."""
            loader: DataLoader[object] = super().get_train_dataloader()
            self.add_callback(_EpochCallback(loader.batch_sampler))
            return loader

    prompts = model.prompts
    trainer = Trainer(
        model=model,
        args=_arguments(config, library, work),
        # a dict even for a single set: then the order of an epoch depends on seed and epoch alone
        train_dataset=datasets.DatasetDict(dict(examples)),
        loss=loss,
        data_collator=pylate("utils").ColBERTCollator(
            model.tokenize,
            prompts={
                name: prompts["query" if name == "query" else "document"]
                for dataset in examples.values()
                for name in (*dataset.column_names, "query", "documents")
            },
        ),
        callbacks=list(callbacks),
    )
    for printing in (transformers.PrinterCallback, transformers.ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


class _EpochCallback(TrainerCallback):  # type: ignore[misc]
    """Passes the number of the epoch to the samplers, which shuffle by it.

    The wrappers of accelerate 1.15, which share batches between processes or skip batches of an
    earlier run, do not pass it on: a resumed epoch would have another order.
    """

    def __init__(self, sampler: MultiDatasetDefaultBatchSampler) -> None:
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        self._samplers = [sampler, *sampler.batch_samplers]

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Set the epoch before its first batch is drawn."""
        for sampler in self._samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(int((state.epoch or 0.0) + 1e-6))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the progress bars and warnings of other libraries within the block."""
    import datasets
    import transformers

    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    before = [logger.level for logger in loggers]
    had_bars = transformers.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
        if had_bars:
            transformers.utils.logging.enable_progress_bar()
            datasets.enable_progress_bars()


def _arguments(
    config: TrainConfig, library: Any, work: Path
) -> SentenceTransformerTrainingArguments:
    optimisation = config.optimisation
    arguments = require("sentence_transformers.training_args", extra="train")
    return library.SentenceTransformerTrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=optimisation.batch_size,
        gradient_accumulation_steps=optimisation.gradient_accumulation,
        learning_rate=optimisation.learning_rate,
        warmup_steps=optimisation.warmup,
        lr_scheduler_type=optimisation.scheduler,
        num_train_epochs=optimisation.epochs,
        max_steps=optimisation.max_steps or -1,
        weight_decay=optimisation.weight_decay,
        max_grad_norm=optimisation.max_grad_norm,
        bf16=optimisation.dtype == "bfloat16",
        gradient_checkpointing=optimisation.gradient_checkpointing,
        seed=optimisation.seed,
        use_cpu=optimisation.device == "cpu",
        dataloader_pin_memory=optimisation.device != "cpu" and torch.cuda.is_available(),
        multi_dataset_batch_sampler=arguments.MultiDatasetBatchSamplers.PROPORTIONAL,
        batch_sampler=arguments.BatchSamplers.NO_DUPLICATES
        if optimisation.no_duplicates
        else arguments.BatchSamplers.BATCH_SAMPLER,
        save_strategy="steps",
        save_steps=config.checkpoints.every,
        logging_strategy="steps",
        logging_steps=config.log_every,
        logging_first_step=True,
        report_to="none",
        disable_tqdm=True,
    )
