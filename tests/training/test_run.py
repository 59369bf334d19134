from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.train import load_train_config
from colmodern.errors import StorageError
from colmodern.training import run


@pytest.mark.parametrize(
    "text",
    ["name: [x", "- a", "a: 1\na: 2", "a: &a [*a]", "\0", "x: !!int y", "[" * 3000],
    ids=range(7),
)
def test_a_damaged_config_of_a_begun_training_is_named_with_its_cure(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "pylate", lambda name: None)  # not needed to read a folder
    config = tmp_path / "c.yaml"
    config.write_text(
        f"name: x\noutput: {tmp_path}\nencoder: {{model: colmodern/tiny}}\n"
        "data: [{path: a.jsonl, kind: pairs}]\nobjective: {kind: contrastive}\n"
    )
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "train.yaml").write_text(text)
    with pytest.raises(StorageError, match=r"(?s)train\.yaml.*remove .*x to train anew") as raised:
        run.run_train(load_train_config(config))
    assert len(str(raised.value)) < 1000
