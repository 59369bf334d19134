"""A ModernBERT's weights straight from its files.

Packed attention does not use transformers' model, whose import takes 150 MB and three seconds.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from transformers import PretrainedConfig

TOKEN_TABLE = "embeddings.tok_embeddings.weight"
Weights = Mapping[str, torch.Tensor]


class MappedTensor(torch.Tensor):
    """A tensor of a file with a mapping of its own, ``mapping``."""

    mapping: mmap.mmap


class TokenTable:
    """The token embeddings of a backbone, in memory or mapped from their file."""

    def __init__(self, weight: torch.Tensor, device: torch.device, dtype: torch.dtype) -> None:
        """Copy a (n_vocabulary, hidden_size) weight, unless it is mapped and fits as it is."""
        self._mapping = weight.mapping if isinstance(weight, MappedTensor) else None
        plain = weight.detach().as_subclass(torch.Tensor)
        if self._mapping is None or plain.dtype != dtype or device.type != "cpu":
            self._mapping, plain = None, plain.to(device, dtype, copy=True)
        self._weight = plain

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """The (n, hidden_size) embeddings of (n,) int64 ids."""
        return F.embedding(ids, self._weight)

    def release_pages(self) -> None:
        """Release the mapped pages that lookups brought into memory; they stay on disk."""
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)


def read_weights(folder: Path, config: PretrainedConfig) -> Weights | None:
    """Read a ModernBERT's weights as views of mapped files.

    Args:
        folder: The backbone's folder.
        config: The configuration of transformers.

    Returns:
        Weights by the names that transformers gives them; the table of token embeddings is a
        MappedTensor, which keeps no other weight in memory. None when the files are not complete
        safetensors of this model; transformers then says what is wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    try:
        for file in _files(folder):
            for name, weight in load_file(file).items():
                key = name.removeprefix("model.")
                weights[key] = _map(file, name, weight) if key == TOKEN_TABLE else weight
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    shapes = _shapes(config)
    if any(name not in weights or weights[name].shape != shape for name, shape in shapes.items()):
        return None
    return {name: weights[name] for name in shapes}


def weights_of(model: torch.nn.Module) -> Weights:
    """Copies of a transformers model's weights, with no view of its file."""
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def rotary_bases(config: PretrainedConfig) -> dict[bool, float]:
    """The base of the rotary angles in local (True) and in global (False) layers.

    Args:
        config: The configuration of transformers, which renames the bases in version 5.
    """
    named = getattr(config, "rope_parameters", None)
    if named:
        names = {True: "sliding_attention", False: "full_attention"}
        return {is_local: float(named[name]["rope_theta"]) for is_local, name in names.items()}
    far = float(config.global_rope_theta)
    near = config.local_rope_theta
    return {True: far if near is None else float(near), False: far}


def _map(file: Path, name: str, weight: torch.Tensor) -> MappedTensor:
    """The same tensor from a mapping of its own; the file's header says where it begins."""
    with file.open("rb") as opened:
        n_header = int.from_bytes(opened.read(8), "little")
        start = json.loads(opened.read(n_header))[name]["data_offsets"][0]
        # a private mapping is writable, as frombuffer requires, and nothing writes to it
        mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    flat = torch.frombuffer(
        mapping, dtype=weight.dtype, count=weight.numel(), offset=8 + n_header + start
    )
    mapped = flat.view(weight.shape).as_subclass(MappedTensor)
    mapped.mapping = mapping
    return mapped


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


def _shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a ModernBertModel of this configuration."""
    hidden, between = config.hidden_size, config.intermediate_size
    norm = ((hidden,), config.norm_bias)  # shape of the weight, and whether there is a bias
    modules: dict[str, tuple[tuple[int, ...], bool]] = {"embeddings.norm": norm, "final_norm": norm}
    for number in range(config.num_hidden_layers):
        layer = f"layers.{number}."
        if number > 0:
            modules[layer + "attn_norm"] = norm
        modules[layer + "mlp_norm"] = norm
        modules[layer + "attn.Wqkv"] = ((3 * hidden, hidden), config.attention_bias)
        modules[layer + "attn.Wo"] = ((hidden, hidden), config.attention_bias)
        modules[layer + "mlp.Wi"] = ((2 * between, hidden), config.mlp_bias)
        modules[layer + "mlp.Wo"] = ((hidden, between), config.mlp_bias)
    shapes: dict[str, tuple[int, ...]] = {TOKEN_TABLE: (config.vocab_size, hidden)}
    for name, (shape, has_bias) in modules.items():
        shapes[f"{name}.weight"] = shape
        if has_bias:
            shapes[f"{name}.bias"] = shape[:1]
    return shapes
