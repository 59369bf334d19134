from __future__ import annotations

import json
from pathlib import Path

from colmodern.pipeline.describe import describe
from colmodern.pipeline.run_folder import TRAIN_CONFIG, TRAIN_RESULT, TRAINED_MODEL


def test_a_training_says_what_came_of_it_or_how_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / TRAIN_CONFIG).write_text("name: mine\n")
    begun = describe(str(tmp_path))
    assert f"colmodern train {tmp_path / TRAIN_CONFIG}" in begun["state"]
    (tmp_path / TRAINED_MODEL).mkdir()
    (tmp_path / TRAIN_RESULT).write_text(json.dumps({"steps": 50, "measures": {}}))
    finished = describe(str(tmp_path))
    assert finished["model"] == str(tmp_path / TRAINED_MODEL)
    assert finished["steps"] == 50
