"""A training from a config to a run folder with a checkpoint, resumed after any interruption."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from colmodern.config.load import dump
from colmodern.config.read import read_values
from colmodern.config.train import TrainConfig
from colmodern.environment import describe_environment
from colmodern.errors import ConfigError, DataError, MissingExtraError, StorageError
from colmodern.files import (
    read_json_object,
    remove_leftovers,
    staging,
    write_json,
    write_text,
)
from colmodern.nested import flatten
from colmodern.pipeline.run_folder import ENVIRONMENT, TRAIN_CONFIG, TRAIN_RESULT, TRAINED_MODEL
from colmodern.progress import Progress, Silent, as_progress
from colmodern.training.callbacks import (
    FACTS,
    CheckpointCallback,
    EvaluationCallback,
    ProgressCallback,
    best_weights,
    last_checkpoint,
    remove_unfinished,
    save_weights,
)
from colmodern.training.curves import draw_curves, write_curves
from colmodern.training.data import load_sources
from colmodern.training.evaluate import load_judged
from colmodern.training.losses import make_loss, pylate
from colmodern.training.model import find_initial_checkpoint, make_model
from colmodern.training.model_card import write_model_card
from colmodern.training.trainer import make_trainer, quiet_libraries
from colmodern.writer_lock import writer_lock

_WORK, _FACTS = "checkpoints", "started.json"
_PACKAGES = ("pylate", "sentence-transformers", "accelerate")


def run_train(config: TrainConfig, *, progress: Progress | bool | None = None) -> Path:
    """Train as a config says.

    Called again with the same config it resumes after the last checkpoint, and does nothing when
    the model exists already. With several processes (accelerate launch) the first one writes.

    Args:
        config: The training's config.
        progress: True for a bar on stderr.

    Returns:
        The run folder; its subfolder ``model`` is the checkpoint.

    Raises:
        MissingExtraError: PyLate is not installed.
        ConfigError: The folder belongs to another config.
        DataError: Data are malformed, or changed since the training began.
    """
    progress = as_progress(progress)
    pylate("models")
    folder = Path(config.output) / config.name
    is_first = is_first_process()
    work = folder / _WORK
    if is_first:
        _check_folder(folder, config)
    if (folder / TRAINED_MODEL).is_dir():
        progress.note(f"{folder / TRAINED_MODEL} is there already: nothing to do")
        return folder
    work.mkdir(parents=True, exist_ok=True)
    with writer_lock(work) if is_first else nullcontext(), quiet_libraries():
        if is_first:
            remove_leftovers(work)
            remove_leftovers(folder)
            remove_unfinished(work)
        log, facts = _train(config, folder, progress if is_first else Silent(), is_first)
        if is_first:
            _finish(config, folder, log, facts, progress)
    if is_first:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def is_first_process() -> bool:
    """Whether this process is the one that writes, of those that accelerate has started."""
    return os.environ.get("RANK", "0") == "0"


def _check_folder(folder: Path, config: TrainConfig) -> None:
    """Raise unless the folder is new, empty or belongs to this very config."""
    path = folder / TRAIN_CONFIG
    if not path.is_file():
        if folder.exists() and any(_is_foreign(file) for file in folder.iterdir()):
            raise StorageError(
                f"{folder} exists and is not a training of colmodern (it has no {TRAIN_CONFIG}); "
                "choose another name or output"
            )
        return
    before = flatten(_stored_config(path))
    now = flatten(config.model_dump(mode="json"))
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        changes = "; ".join(f"{x}: {before.get(x)!r}, now {now.get(x)!r}" for x in changed[:5])
        raise ConfigError(
            f"{folder} was begun with another config ({changes}); resume with that config, give "
            "this one another name, or remove the folder"
        )


def _stored_config(path: Path) -> dict[str, object]:
    """The config that a training began with.

    Raises:
        StorageError: The file is damaged.
    """
    try:
        return read_values(path)
    except ConfigError as error:
        raise StorageError(f"{error}; remove {path.parent} to train anew") from error


def _is_foreign(path: Path) -> bool:
    """Whether a file is foreign to a run that was killed before it wrote its config."""
    return path.name != _WORK and not path.name.startswith(".")


def _train(
    config: TrainConfig, folder: Path, progress: Progress, is_first: bool
) -> tuple[list[dict[str, object]], dict[str, Any]]:
    """Train up to the last step; returns the trainer's log and the facts of the run."""
    work = folder / _WORK
    judged = load_judged(config)
    initial = find_initial_checkpoint(config.encoder)
    sources = load_sources(config, work, progress=progress)
    facts = {"start": initial.facts, "data": [source.facts for source in sources]}
    if is_first:
        # only after all input was read, so that a config with a fault does not claim the folder
        write_text(folder / TRAIN_CONFIG, dump(config))
        _check_unchanged(folder, facts)
    checkpoint = last_checkpoint(work)
    if checkpoint is not None:
        progress.note(f"resuming after {checkpoint.name}")
    model = make_model(config, initial)
    callbacks = [
        ProgressCallback(progress),
        EvaluationCallback(config, judged, work, progress),
        CheckpointCallback(config, folder, work),
    ]
    trainer = make_trainer(
        config,
        model,
        make_loss(config.objective, model),
        {source.name: source.examples for source in sources},
        work=work,
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if is_first and not _keeps_best(config):
        last = work / "last"
        shutil.rmtree(last, ignore_errors=True)
        save_weights(trainer.model, last)
    return trainer.state.log_history, {**facts, "steps": trainer.state.global_step}


def _keeps_best(config: TrainConfig) -> bool:
    return config.weights == "best" and bool(config.evaluation.datasets)


def _check_unchanged(folder: Path, facts: dict[str, Any]) -> None:
    """Raise DataError when the data or the initial model changed since the training began."""
    path = folder / _FACTS
    if not path.is_file():
        write_json(path, facts)
        return
    before = read_json_object(path, StorageError, cure=f"remove {folder}")
    if before != facts:
        changed = "the data" if before.get("data") != facts["data"] else "the initial model"
        raise DataError(
            f"{changed} changed since {folder} was begun; put the old files back, or remove the folder"
        )


def _finish(
    config: TrainConfig,
    folder: Path,
    log: list[dict[str, object]],
    facts: dict[str, object],
    progress: Progress,
) -> None:
    """Publish the best or last weights; the model's folder comes last, so that all else is there."""
    work = folder / _WORK
    step, weights = best_weights(work) if _keeps_best(config) else (facts["steps"], work / "last")
    assert weights is not None
    measured = {x["step"]: x["measures"] for x in log if "measures" in x}
    environment = describe_environment(more=_PACKAGES)
    result = {**facts, "step_of_the_model": step, "measures": measured.get(step, {})}
    result["measures_at_start"] = measured.get(0, {})
    write_curves(folder, log)
    try:
        draw_curves(folder, config.name)
    except MissingExtraError as error:
        progress.note(f"no picture of the curves: {error}")
    write_json(folder / TRAIN_RESULT, result)
    write_json(folder / ENVIRONMENT, environment)
    with staging(folder / TRAINED_MODEL) as staged:
        shutil.copytree(weights, staged, dirs_exist_ok=True)
        (staged / FACTS).unlink(missing_ok=True)
        write_model_card(staged, config, result, environment)
