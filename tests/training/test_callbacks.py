from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from colmodern.config.load import build
from colmodern.config.train import TrainConfig
from colmodern.datasets.load import load_dataset
from colmodern.files import write_json
from colmodern.progress import Silent
from colmodern.training.callbacks import (
    FACTS,
    CheckpointCallback,
    EvaluationCallback,
    ProgressCallback,
    best_weights,
    last_checkpoint,
    remove_unfinished,
)


class Model:
    """A trained model that is a copy of a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_pretrained(self, path: str, **_: Any) -> None:
        shutil.copytree(self.folder, path, dirs_exist_ok=True)


def config(**more: object) -> TrainConfig:
    values = {
        "name": "small",
        "encoder": {"model": "colmodern/tiny"},
        "objective": {"kind": "contrastive"},
        "data": [{"path": "pairs.jsonl", "kind": "pairs"}],
        "optimisation": {"device": "cpu"},
    }
    return build(TrainConfig, {**values, **more}, source="test")


def state(step: int, **more: object) -> SimpleNamespace:
    values = {"epoch": step / 10, "log_history": [], "is_world_process_zero": True}
    return SimpleNamespace(global_step=step, **values, **more)


@pytest.fixture
def evaluation(beir: Path, tmp_path: Path) -> EvaluationCallback:
    chosen = {"datasets": [str(beir)], "every": 10, "at_start": True, "measures": ["nDCG@10"]}
    datasets = {"judged": load_dataset(beir)}
    return EvaluationCallback(config(evaluation=chosen), datasets, tmp_path, Silent())


def test_steps_are_counted_from_the_step_of_an_earlier_run() -> None:
    calls: list[tuple[object, ...]] = []

    class Steps(Silent):
        def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
            calls.append((task, total, unit, done))

        def advance(self, n: int) -> None:
            calls.append((n,))

    callback = ProgressCallback(Steps())
    callback.on_train_begin(None, state(40, max_steps=100), None)
    callback.on_step_end(None, state(41), None)
    assert calls == [("train", 100, "steps", 40), (1,)]


def test_weights_are_measured_and_the_best_are_kept(
    evaluation: EvaluationCallback, pylate_bert: Path, tmp_path: Path
) -> None:
    at_start = state(0)
    evaluation.on_train_begin(None, at_start, None, model=Model(pylate_bert))
    [entry] = at_start.log_history
    assert entry["step"] == 0
    assert 0 <= entry["measures"]["judged"]["nDCG@10"] <= 1
    assert best_weights(tmp_path) == (0, tmp_path / "best-0")
    later = state(20)
    evaluation.on_step_end(None, later, None, model=Model(pylate_bert))
    assert best_weights(tmp_path) == (20, tmp_path / "best-20")  # equals: the later ones
    assert not (tmp_path / "best-0").exists()
    evaluation.on_train_end(None, later, None, model=Model(pylate_bert))
    assert len(later.log_history) == 1  # the last step was measured already


def test_a_resumed_training_and_the_steps_between_measure_nothing(
    evaluation: EvaluationCallback, pylate_bert: Path
) -> None:
    resumed = state(13)
    evaluation.on_train_begin(None, resumed, None, model=Model(pylate_bert))
    evaluation.on_step_end(None, resumed, None, model=Model(pylate_bert))
    assert resumed.log_history == []


def test_the_newest_checkpoints_are_kept_and_marked(tmp_path: Path) -> None:
    work = tmp_path / "checkpoints"
    callback = CheckpointCallback(config(checkpoints={"keep": 2}), tmp_path, work)
    for step in (5, 10, 15):
        (work / f"checkpoint-{step}").mkdir(parents=True)
        callback.on_save(None, state(step), None)
    assert sorted(folder.name for folder in work.iterdir()) == ["checkpoint-10", "checkpoint-15"]
    assert last_checkpoint(work) == work / "checkpoint-15"
    assert (tmp_path / "curves.csv").is_file()


def test_a_checkpoint_without_its_mark_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    assert last_checkpoint(tmp_path) is None
    remove_unfinished(tmp_path)
    assert not (tmp_path / "checkpoint-5").exists()


def test_the_latest_of_weights_that_measure_the_same_are_the_best(tmp_path: Path) -> None:

    for step, value in ((0, 0.5), (5, 0.25), (10, 0.5), (100, 0.5), (200, 0.49)):
        (tmp_path / f"best-{step}").mkdir()
        write_json(tmp_path / f"best-{step}" / FACTS, {"step": step, "value": value})
    assert best_weights(tmp_path) == (100, tmp_path / "best-100")
