from __future__ import annotations

from pathlib import Path

import checkpoints
import pytest

from colmodern.config.train import TrainedEncoderConfig
from colmodern.errors import ConfigError
from colmodern.training.model import find_initial_checkpoint


def config(model: Path, **encoder: object) -> TrainedEncoderConfig:
    return TrainedEncoderConfig(model=str(model), **encoder)


def test_what_pylate_cannot_train_is_refused(tmp_path: Path, pylate_bert: Path) -> None:
    folder = checkpoints.sentence_transformers(tmp_path, "bert", expansion=None)
    with pytest.raises(ConfigError, match=r"which PyLate 1\.6 cannot train"):
        find_initial_checkpoint(config(folder))
    with pytest.raises(ConfigError, match="with its own projection"):
        find_initial_checkpoint(config(pylate_bert, projection_dim=8))
