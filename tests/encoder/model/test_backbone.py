from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from colmodern import Encoder
from colmodern.encoder.model import backbone
from colmodern.errors import CheckpointError, ConfigError


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_code_of_a_checkpoint_runs_only_when_asked(tmp_path: Path, modernbert: Path) -> None:
    folder = copy_of(modernbert, tmp_path / "custom")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyModel"}
    config["model_type"] = "my-own"
    (folder / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "ran"
    (folder / "mine.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(CheckpointError, match="trust_remote_code=True"):
        Encoder.from_pretrained(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("model", "weight"),
    [
        ("bert", "encoder.layer.1.output.dense.weight"),
        ("modernbert", "layers.1.mlp.Wo.weight"),
    ],
)
def test_missing_weights_are_refused(tmp_path: Path, model: str, weight: str, request) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy_of(request.getfixturevalue(model), tmp_path / "holes")
    tensors = load_file(folder / "model.safetensors")
    del tensors[weight]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"lacks 1 weights.*{re.escape(weight)}"):
        Encoder.from_pretrained(folder)


def test_transformers_logging_is_left_as_it_was(bert: Path) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity()
    backbone.load_backbone(bert, dtype="float32", attention="sdpa", trust_remote_code=False)
    assert logging.get_verbosity() == before
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("model", ["bert", "modernbert"])
def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path, model: str, request) -> None:
    folder = copy_of(request.getfixturevalue(model), tmp_path / "bare")
    for file in folder.glob("*tokenizer*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        Encoder.from_pretrained(folder)


@pytest.mark.parametrize("model", ["bert", "modernbert"])
def test_damaged_weights_are_named(tmp_path: Path, model: str, request) -> None:
    folder = copy_of(request.getfixturevalue(model), tmp_path / "cut")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="does not load as a transformers model"):
        Encoder.from_pretrained(folder)


def test_embeddings_that_are_not_finite_are_refused(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy_of(bert, tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.LayerNorm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"dtype='float32': .* not finite"):
        Encoder.from_pretrained(folder).encode_documents(["a list"])


def test_rotary_frequencies_stay_float32_in_half_precision(modernbert: Path) -> None:
    model, _ = backbone.load_backbone(
        modernbert, dtype="bfloat16", attention="sdpa", trust_remote_code=False
    )
    frequencies = [b for name, b in model.named_buffers() if "inv_freq" in name]
    assert frequencies
    assert {b.dtype for b in frequencies} == {torch.float32}
    assert next(model.parameters()).dtype == torch.bfloat16
