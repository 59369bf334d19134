"""A ModernBERT's weights straight from its files.

transformers' model of it is of no use to packed attention, and importing that takes 150 MB and
three seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

TOKEN_TABLE = "embeddings.tok_embeddings.weight"
Weights = Mapping[str, torch.Tensor]


def read_weights(folder: Path, config: Any) -> Weights | None:
    """Weights by the names that transformers gives them, views of mapped files.

    The table of token embeddings has a mapping of its own: kept as it is, it takes only the memory
    of rows that were read, and keeps no other weight in memory.

    config: of transformers
    Returns None when the files are not whole safetensors of this model; transformers says what is wrong.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    try:
        for file in _files(folder):
            for name, weight in load_file(file).items():
                known = name.removeprefix("model.")
                if known == TOKEN_TABLE:
                    with safe_open(file, framework="pt") as opened:
                        weight = opened.get_tensor(name)
                found[known] = weight
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    shapes = _shapes(config)
    if any(name not in found or found[name].shape != shape for name, shape in shapes.items()):
        return None
    return {name: found[name] for name in shapes}


def weights_of(model: torch.nn.Module) -> Weights:
    """Copies of a transformers model's weights, with no view of its file."""
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def rotary_bases(config: Any) -> dict[bool, float]:
    """The base of the angles in local (True) and in global layers.

    config: of transformers, which names them otherwise from version 5 on
    """
    named = getattr(config, "rope_parameters", None)
    if named:
        names = {True: "sliding_attention", False: "full_attention"}
        return {is_local: float(named[name]["rope_theta"]) for is_local, name in names.items()}
    far = float(config.global_rope_theta)
    near = config.local_rope_theta
    return {True: far if near is None else float(near), False: far}


def _files(folder: Path) -> list[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        return [
            folder / name
            for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))
        ]
    return []


def _shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """What a ModernBertModel of this configuration has."""
    hidden, between = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {TOKEN_TABLE: (config.vocab_size, hidden)}
    norms, linears = ["embeddings.norm", "final_norm"], {}
    for number in range(config.num_hidden_layers):
        layer = f"layers.{number}."
        norms += [layer + "attn_norm"] * (number > 0) + [layer + "mlp_norm"]
        linears[layer + "attn.Wqkv"] = (3 * hidden, hidden, config.attention_bias)
        linears[layer + "attn.Wo"] = (hidden, hidden, config.attention_bias)
        linears[layer + "mlp.Wi"] = (2 * between, hidden, config.mlp_bias)
        linears[layer + "mlp.Wo"] = (hidden, between, config.mlp_bias)
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,)} | (
            {f"{name}.bias": (hidden,)} if config.norm_bias else {}
        )
    for name, (n_out, n_in, has_bias) in linears.items():
        shapes |= {f"{name}.weight": (n_out, n_in)} | (
            {f"{name}.bias": (n_out,)} if has_bias else {}
        )
    return shapes
