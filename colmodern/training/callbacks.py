"""What happens between a trainer's steps: progress, evaluation, curves, checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import TrainerCallback

from colmodern.config.train import TrainConfig
from colmodern.errors import StorageError
from colmodern.files import read_json_object, staging, write_json
from colmodern.progress import Progress
from colmodern.training.curves import write_curves
from colmodern.training.evaluate import EvaluationEntry, headline, measure_weights
from colmodern.types import Dataset

if TYPE_CHECKING:
    from pylate.models import ColBERT
    from transformers import TrainerControl, TrainerState, TrainingArguments

FACTS = "colmodern.json"  # in a checkpoint, written last; in the best weights, their score
_BEST = "best-"


# mypy does not follow transformers, so its classes are Any
class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Reports the steps of a training to a Progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Start the task at the step where an earlier run stopped."""
        self._progress.start("train", state.max_steps, unit="steps", done=state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Count a finished step."""
        self._progress.advance(1)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Finish the task."""
        self._progress.finish()


class EvaluationCallback(TrainerCallback):  # type: ignore[misc]
    """Measures the weights every so many steps, and keeps the best.

    Its measures go into the trainer's log, and so into the trainer's checkpoints.
    """

    def __init__(
        self, config: TrainConfig, datasets: dict[str, Dataset], work: Path, progress: Progress
    ) -> None:
        self._config, self._datasets = config, datasets
        self._work, self._progress = work, progress

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: ColBERT,
        **_: object,
    ) -> None:
        """Measure the initial weights when a training begins, not when it is resumed."""
        if self._config.evaluation.at_start and state.global_step == 0:
            self._evaluate(state, model)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: ColBERT,
        **_: object,
    ) -> None:
        """Measure the weights every so many steps, before the checkpoint of the same step."""
        every = self._config.evaluation.every
        if every is not None and state.global_step % every == 0:
            self._evaluate(state, model)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: ColBERT,
        **_: object,
    ) -> None:
        """Measure the last weights, unless the last step measured them."""
        if not any("measures" in x and x["step"] == state.global_step for x in state.log_history):
            self._evaluate(state, model)

    def _evaluate(self, state: TrainerState, model: ColBERT) -> None:
        if not self._datasets or not state.is_world_process_zero:
            return
        candidate = self._work / f"{_BEST}{state.global_step}"
        shutil.rmtree(candidate, ignore_errors=True)
        with staging(candidate) as folder:
            save_weights(model, folder)
            with torch.random.fork_rng():  # so that dropout does not depend on it
                measures = measure_weights(folder, self._config, self._datasets)
            value = headline(measures)
            write_json(folder / FACTS, {"step": state.global_step, "value": value})
        entry = EvaluationEntry(step=state.global_step, epoch=state.epoch or 0.0, measures=measures)
        state.log_history.append(entry)
        name = self._config.evaluation.measures[0]
        self._progress.note(f"step {state.global_step:,}: {name} {value:.4f}")
        _, best = best_weights(self._work)
        for folder in self._work.glob(f"{_BEST}*"):
            if folder != best:
                shutil.rmtree(folder)


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Marks finished checkpoints, removes old ones, and writes the curves beside them."""

    def __init__(self, config: TrainConfig, folder: Path, work: Path) -> None:
        self._config, self._folder, self._work = config, folder, work

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Mark the checkpoint that the trainer has just written."""
        if not state.is_world_process_zero:
            return
        write_json(self._work / f"checkpoint-{state.global_step}" / FACTS, {})
        for old in _checkpoints(self._work)[: -self._config.checkpoints.keep]:
            shutil.rmtree(old)
        write_curves(self._folder, state.log_history)


def save_weights(model: ColBERT, folder: Path) -> None:
    """Save a PyLate model as a checkpoint, without the model card that PyLate would write."""
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)


def remove_unfinished(work: Path) -> None:
    """Remove the checkpoints whose writer was killed."""
    for folder in work.glob("checkpoint-*"):
        if not (folder / FACTS).is_file():
            shutil.rmtree(folder)


def last_checkpoint(work: Path) -> Path | None:
    """The newest finished checkpoint, None where there is none."""
    checkpoints = _checkpoints(work)
    return checkpoints[-1] if checkpoints else None


def best_weights(work: Path) -> tuple[int | None, Path | None]:
    """Step and folder of the weights with the best measure, the latest of equals.

    Where the measure can't tell weights apart, those that were trained for longer are the model.
    """
    scored = []
    for folder in work.glob(f"{_BEST}*"):
        facts = read_json_object(folder / FACTS, StorageError, cure=f"remove {folder}")
        scored.append((facts["value"], facts["step"], folder))
    return max(scored)[1:] if scored else (None, None)


def _checkpoints(work: Path) -> list[Path]:
    """The finished checkpoints, in the order of their steps."""
    folders = [folder for folder in work.glob("checkpoint-*") if (folder / FACTS).is_file()]
    return sorted(folders, key=lambda folder: int(folder.name.rpartition("-")[2]))
