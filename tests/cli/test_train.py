from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_jsonl

Run = Callable[..., tuple[object, str, str]]


def test_mine_takes_its_settings_from_the_command_line(
    run: Run, tmp_path: Path, pylate_bert: Path
) -> None:
    words = ["date", "wing", "file", "sort", "heat"]
    pairs = [{"query": f"find {word}", "positive": f"the {word} of a"} for word in words]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    output = tmp_path / "mined.jsonl"
    settings = [f"pairs={tmp_path / 'pairs.jsonl'}", f"encoder.model={pylate_bert}"]
    status, out, _ = run("mine", *settings, "negatives.number=2", f"output={output}")
    assert status == 0
    assert out.splitlines() == [
        "5 rows; 0 positives left out for want of negatives; candidates dropped: none",
        str(output),
    ]
    assert len(output.read_text().splitlines()) == 5


def test_mine_takes_a_file_too_and_names_a_fault(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("pairs: pairs.jsonl\nencoder: {model: m}\noutput: o.jsonl\n")
    status, _, err = run("mine", config, "negatives.nummer=3")
    assert status == 2
    assert "negatives.nummer: unknown key; did you mean 'number'?" in err
    status, _, err = run("mine", config, config)
    assert status == 2
    assert "give one config, not 2" in err


def test_train_says_what_to_install_and_which_key_is_wrong(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pylate", None)
    config = tmp_path / "train.yaml"
    settings = {
        "encoder": {"model": "m"},
        "objective": {"kind": "contrastive"},
        "data": [{"path": "pairs.jsonl", "kind": "pairs"}],
        "output": str(tmp_path / "runs"),
    }
    config.write_text(json.dumps(settings))
    status, _, err = run("train", config)
    assert status == 2
    assert "pip install 'colmodern[train]'" in err
    status, _, err = run("train", config, "optimisation.lr=1")
    assert status == 2
    assert "optimisation.lr: unknown key" in err


@pytest.mark.parametrize(("step", "is_said"), [(0, True), (10, False)])
def test_train_says_last_that_the_start_is_the_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, is_said: bool
) -> None:
    folder = tmp_path / "runs" / "train"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"step_of_the_model": step, "steps": 10}))
    monkeypatch.setattr("colmodern.training.run.run_train", lambda *_, **__: folder)
    config = tmp_path / "train.yaml"
    settings = {
        "encoder": {"model": "m"},
        "objective": {"kind": "contrastive"},
        "data": [{"path": "pairs.jsonl", "kind": "pairs"}],
    }
    config.write_text(json.dumps(settings))
    status, out, err = run("train", config)
    assert (status, out.splitlines()[-1]) == (0, str(folder / "model"))
    assert ("weights that training started from (step 0 of 10)" in err) is is_said
