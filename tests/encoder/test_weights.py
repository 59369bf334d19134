from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from colmodern.encoder.weights import TOKEN_TABLE, read_weights, rotary_bases, weights_of

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
}


def make(kind: str, **options: Any) -> Any:
    """A random model of transformers."""
    import transformers

    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)
    ids |= dict.fromkeys(("cls_token_id", "sep_token_id"), 0)
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.ModernBertConfig(**SHAPE, **ids, **options))


@pytest.mark.parametrize("has_biases", [False, True])
@pytest.mark.parametrize("shard", ["5KB", "1GB"])
@pytest.mark.parametrize("kind", ["ModernBertModel", "ModernBertForMaskedLM"])
def test_weights_are_those_that_transformers_reads(
    tmp_path: Path, kind: str, shard: str, has_biases: bool
) -> None:
    options = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias"), has_biases)
    model = make(kind, **options)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or shard == "1GB"
    found = read_weights(tmp_path, model.config)
    expected = weights_of(model if kind == "ModernBertModel" else model.model)
    assert found is not None
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize("fault", ["lacks one", "another shape", "cut off", "none"])
def test_files_that_are_not_whole_are_left_to_transformers(tmp_path: Path, fault: str) -> None:
    model = make("ModernBertModel")
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    if fault == "lacks one":
        del weights["layers.2.mlp.Wo.weight"]
        save_file(weights, path)
    elif fault == "another shape":
        weights[TOKEN_TABLE] = weights[TOKEN_TABLE][:-1].clone()
        save_file(weights, path)
    elif fault == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.unlink()
    assert read_weights(tmp_path, model.config) is None


def test_local_layers_have_a_base_of_their_own() -> None:
    assert rotary_bases(make("ModernBertModel").config) == {True: 10_000.0, False: 160_000.0}


def test_transformers_model_of_modernbert_is_not_imported() -> None:
    code = (
        "import sys; from colmodern import Encoder; Encoder.from_pretrained('colmodern/tiny');"
        "sys.exit(any(name.endswith('modeling_modernbert') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
