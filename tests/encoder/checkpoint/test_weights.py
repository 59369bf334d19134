from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from colmodern.encoder.checkpoint.weights import (
    TOKEN_TABLE,
    TokenTable,
    read_weights,
    rotary_bases,
    weights_of,
)

FILE = "model.safetensors"

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


@pytest.mark.parametrize("kind", [torch.float16, torch.float8_e5m2, torch.float8_e4m3fn])
def test_a_table_of_few_bits_gives_the_rows_that_it_stands_for(
    tmp_path: Path, kind: torch.dtype
) -> None:
    model = make("ModernBertModel")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / FILE)
    stored = weights[TOKEN_TABLE].to(kind)
    save_file({**weights, TOKEN_TABLE: stored}, tmp_path / FILE)
    found = read_weights(tmp_path, model.config)
    assert found is not None
    table = TokenTable(found[TOKEN_TABLE], torch.device("cpu"), torch.float32)
    ids = torch.tensor([3, 49, 0])
    assert torch.equal(table(ids), stored.float()[ids])


@pytest.mark.parametrize("fault", ["lacks one", "another shape", "cut off", "none"])
def test_files_that_are_not_whole_are_left_to_transformers(tmp_path: Path, fault: str) -> None:
    model = make("ModernBertModel")
    model.save_pretrained(tmp_path)
    path = tmp_path / FILE
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_a_table_in_its_file_takes_memory_only_while_it_is_read(tmp_path: Path) -> None:
    model = make("ModernBertModel")
    model.save_pretrained(tmp_path)
    weights = read_weights(tmp_path, model.config)
    assert weights is not None
    expected = model.embeddings.tok_embeddings.weight.detach()
    table = TokenTable(weights[TOKEN_TABLE], torch.device("cpu"), torch.float32)
    del weights

    def resident() -> int:  # kB of the file
        lines = Path("/proc/self/smaps").read_text().splitlines()
        starts = [i for i, line in enumerate(lines) if line.endswith(str(tmp_path / FILE))]
        return sum(int(one.split()[1]) for i in starts for one in lines[i : i + 6] if "Rss" in one)

    ids = torch.tensor([3, 49, 0])
    for _ in range(2):
        assert torch.equal(table(ids), expected[ids])
        assert resident() > 0
        table.release_pages()
        assert resident() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_table_that_is_not_mapped_is_a_copy(dtype: torch.dtype) -> None:
    weight = torch.randn(5, 4)
    table, expected = TokenTable(weight, torch.device("cpu"), dtype), weight.to(dtype, copy=True)
    weight.zero_()
    table.release_pages()
    assert torch.equal(table(torch.arange(5)), expected)


def test_local_layers_have_a_base_of_their_own() -> None:
    assert rotary_bases(make("ModernBertModel").config) == {True: 10_000.0, False: 160_000.0}


def test_transformers_model_of_modernbert_is_not_imported() -> None:
    code = (
        "import sys; from colmodern import Encoder; Encoder.from_pretrained('colmodern/tiny');"
        "sys.exit(any(name.endswith('modeling_modernbert') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
