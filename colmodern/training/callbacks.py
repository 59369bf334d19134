"""What happens between a trainer's steps: progress, evaluation, curves, checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from colmodern.config.train import TrainConfig
from colmodern.errors import StorageError
from colmodern.files import read_json_object, staging, write_json
from colmodern.progress import Progress
from colmodern.training.curves import write_curves
from colmodern.training.evaluate import Found, headline, measure_weights
from colmodern.types import Dataset

FACTS = "colmodern.json"  # in a checkpoint, written last; in the best weights, their score
_BEST = "best-"


# transformers is not followed by mypy, so its class is Any
class Told(TrainerCallback):  # type: ignore[misc]
    """Tells a Progress of the steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin, where an earlier run stopped."""
        self._progress.start("train", state.max_steps, unit="steps", done=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One more."""
        self._progress.advance(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All."""
        self._progress.finish()


class Evaluated(TrainerCallback):  # type: ignore[misc]
    """Measures the weights now and then, and keeps the best.

    What it finds goes into the trainer's log, and so into its checkpoints.
    """

    def __init__(
        self, config: TrainConfig, datasets: dict[str, Dataset], work: Path, progress: Progress
    ) -> None:
        self._config, self._datasets = config, datasets
        self._work, self._progress = work, progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Where training begins, not where it goes on."""
        if self._config.evaluation.at_start and state.global_step == 0:
            self._evaluate(state, given["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Every so many steps, before the checkpoint of the same step."""
        every = self._config.evaluation.every
        if every is not None and state.global_step % every == 0:
            self._evaluate(state, given["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The last weights, unless they were measured just now."""
        if not any("measures" in x and x["step"] == state.global_step for x in state.log_history):
            self._evaluate(state, given["model"])

    def _evaluate(self, state: Any, model: Any) -> None:
        if not self._datasets or not state.is_world_process_zero:
            return
        place = self._work / f"{_BEST}{state.global_step}"
        shutil.rmtree(place, ignore_errors=True)
        with staging(place) as folder:
            save_weights(model, folder)
            with torch.random.fork_rng():  # so that dropout does not depend on it
                measures = measure_weights(folder, self._config, self._datasets)
            value = headline(measures)
            write_json(folder / FACTS, {"step": state.global_step, "value": value})
        found = Found(step=state.global_step, epoch=state.epoch or 0.0, measures=measures)
        state.log_history.append(found)
        name = self._config.evaluation.measures[0]
        self._progress.note(f"step {state.global_step:,}: {name} {value:.4f}")
        _, best = best_weights(self._work)
        for folder in self._work.glob(f"{_BEST}*"):
            if folder != best:
                shutil.rmtree(folder)


class Kept(TrainerCallback):  # type: ignore[misc]
    """Marks finished checkpoints, removes old ones, and draws the curves beside them."""

    def __init__(self, config: TrainConfig, folder: Path, work: Path) -> None:
        self._config, self._folder, self._work = config, folder, work

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The trainer has written a checkpoint."""
        if not state.is_world_process_zero:
            return
        write_json(self._work / f"checkpoint-{state.global_step}" / FACTS, {})
        for old in _checkpoints(self._work)[: -self._config.checkpoints.keep]:
            shutil.rmtree(old)
        write_curves(self._folder, state.log_history)


def save_weights(model: Any, folder: Path) -> None:
    """A PyLate model as a checkpoint, without the model card that PyLate would write."""
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)


def remove_unfinished(work: Path) -> None:
    """Remove checkpoints that a process was killed over."""
    for folder in work.glob("checkpoint-*"):
        if not (folder / FACTS).is_file():
            shutil.rmtree(folder)


def last_checkpoint(work: Path) -> Path | None:
    """The newest finished checkpoint."""
    found = _checkpoints(work)
    return found[-1] if found else None


def best_weights(work: Path) -> tuple[int | None, Path | None]:
    """Step and folder of the weights that were measured best, the latest of equals.

    Where the measure can't tell weights apart, those that were trained for longer are the model.
    """
    found = []
    for folder in work.glob(f"{_BEST}*"):
        facts = read_json_object(folder / FACTS, StorageError, cure=f"remove {folder}")
        found.append((facts["value"], facts["step"], folder))
    return max(found)[1:] if found else (None, None)


def _checkpoints(work: Path) -> list[Path]:
    folders = [one for one in work.glob("checkpoint-*") if (one / FACTS).is_file()]
    return sorted(folders, key=lambda one: int(one.name.rpartition("-")[2]))
