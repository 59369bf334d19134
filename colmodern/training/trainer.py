"""The sentence-transformers trainer with PyLate's collator, as PyLate's documentation joins them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from colmodern.config.train import TrainConfig
from colmodern.optional import require
from colmodern.training.losses import pylate


def make_trainer(
    config: TrainConfig,
    model: Any,
    loss: Any,
    rows: Mapping[str, Any],
    *,
    work: Path,
    callbacks: Sequence[Any],
) -> Any:
    """A trainer that writes its checkpoints into ``work``; a batch is of one of the sets.

    rows: name -> datasets.Dataset

    Raises MissingExtraError without sentence-transformers or accelerate.
    """
    import datasets
    import transformers

    library = require("sentence_transformers", extra="train")
    require("accelerate", extra="train")

    class Trainer(library.SentenceTransformerTrainer):  # type: ignore[misc, name-defined]
        """The model card is ours, so nothing is collected for theirs; and epochs keep their order."""

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """Nothing."""

        def get_train_dataloader(self) -> Any:
            """The library's, whose order of batches is told of every epoch."""
            loader = super().get_train_dataloader()
            self.add_callback(_Ordered(loader.batch_sampler))
            return loader

    prompts = model.prompts
    trainer = Trainer(
        model=model,
        args=_arguments(config, library, work),
        # also of one set: then the order of an epoch depends on seed and epoch alone
        train_dataset=datasets.DatasetDict(dict(rows)),
        loss=loss,
        data_collator=pylate("utils").ColBERTCollator(
            model.tokenize,
            prompts={
                name: prompts["query" if name == "query" else "document"]
                for dataset in rows.values()
                for name in (*dataset.column_names, "query", "documents")
            },
        ),
        callbacks=list(callbacks),
    )
    for printing in (transformers.PrinterCallback, transformers.ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


class _Ordered(TrainerCallback):  # type: ignore[misc]
    """Tells samplers of the epoch, by which they shuffle.

    What accelerate 1.15 puts around them, to share batches between processes or to skip those that
    were trained on before, does not pass it on: a resumed epoch would have another order.
    """

    def __init__(self, sampler: Any) -> None:
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        self._samplers = [sampler, *sampler.batch_samplers]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before its first batch is drawn."""
        for sampler in self._samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(int((state.epoch or 0.0) + 1e-6))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No bars of other libraries among ours, and no warning that a backbone is but a backbone."""
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


def _arguments(config: TrainConfig, library: Any, work: Path) -> Any:
    import torch

    chosen = config.optimisation
    arguments = require("sentence_transformers.training_args", extra="train")
    return library.SentenceTransformerTrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=chosen.batch_size,
        gradient_accumulation_steps=chosen.gradient_accumulation,
        learning_rate=chosen.learning_rate,
        warmup_steps=chosen.warmup,
        lr_scheduler_type=chosen.scheduler,
        num_train_epochs=chosen.epochs,
        max_steps=chosen.max_steps or -1,
        weight_decay=chosen.weight_decay,
        max_grad_norm=chosen.max_grad_norm,
        bf16=chosen.dtype == "bfloat16",
        gradient_checkpointing=chosen.gradient_checkpointing,
        seed=chosen.seed,
        use_cpu=chosen.device == "cpu",
        dataloader_pin_memory=chosen.device != "cpu" and torch.cuda.is_available(),
        multi_dataset_batch_sampler=arguments.MultiDatasetBatchSamplers.PROPORTIONAL,
        batch_sampler=arguments.BatchSamplers.NO_DUPLICATES
        if chosen.no_duplicates
        else arguments.BatchSamplers.BATCH_SAMPLER,
        save_strategy="steps",
        save_steps=config.checkpoints.every,
        logging_strategy="steps",
        logging_steps=config.log_every,
        logging_first_step=True,
        report_to="none",
        disable_tqdm=True,
    )
