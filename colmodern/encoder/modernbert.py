"""ModernBERT without padding, its local layers computed inside their window only.

A forward of our own over the model's weights: transformers 4.48 gives attention a dictionary of
its own and rotates inside it, 5 has a general interface that takes padded batches, and neither
lets the layers between run in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from colmodern.encoder.attention import (
    Rows,
    attend_in_band,
    attend_to_texts,
    make_band,
    round_up,
)
from colmodern.encoder.linear import Linear, make_linear
from colmodern.encoder.packing import Indices, Packing, pack
from colmodern.encoder.precision import is_bfloat16_fast
from colmodern.encoder.varlen import VarlenAttention

_CHUNK = {"cpu": 512, "cuda": 16_384}  # rows between attentions at a time: a CPU's cache holds them
Rotation = tuple[torch.Tensor, torch.Tensor]  # cos and sin, (n_tokens, 1, 1, head_dim / 2) float32


class Norm:
    """Layer norm of float32 rows, in the dtype that the products take."""

    def __init__(self, norm: torch.nn.LayerNorm, dtype: torch.dtype) -> None:
        self._weight = norm.weight.detach().clone().float()
        self._bias = None if norm.bias is None else norm.bias.detach().clone().float()
        self._eps, self._dtype = norm.eps, dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n, hidden) float32 to (n, hidden)."""
        return F.layer_norm(x, x.shape[1:], self._weight, self._bias, self._eps).to(self._dtype)


@dataclass(frozen=True)
class Layer:
    """One layer, ready to run; norms in float32, a missing one leaves its input as it is."""

    is_local: bool
    attention_norm: Norm | None
    mlp_norm: Norm
    qkv: Linear
    attention_out: Linear
    mlp_in: Linear
    mlp_gate: Linear
    mlp_out: Linear


@dataclass(frozen=True)
class StoredLayer:
    """A layer in the dtype of its checkpoint.

    weights: weight and bias of each Linear of a Layer, by its name
    """

    is_local: bool
    attention_norm: Norm | None
    mlp_norm: Norm
    weights: dict[str, tuple[torch.Tensor, torch.Tensor | None]]

    def open(self, dtype: torch.dtype) -> Layer:
        """The layer that runs, with copies of the weights in this dtype."""
        linears = {
            name: make_linear(weight.to(dtype), None if bias is None else bias.to(dtype))
            for name, (weight, bias) in self.weights.items()
        }
        return Layer(self.is_local, self.attention_norm, self.mlp_norm, **linears)


class PackedModernBert:
    """The backbone of an encoder: token ids in, hidden states out, real tokens only.

    The sum over layers is kept in float32, whatever the dtype of weights and activations.
    """

    def __init__(self, model: Any) -> None:
        """Take over the weights of a transformers ModernBertModel, which is of no use after.

        Every weight is copied once: as loaded, all may be views of one mapped file, and a single
        one that is left keeps the whole file in memory.
        """
        config = model.config
        weight = model.layers[0].attn.Wqkv.weight
        self._device, self._dtype = weight.device, compute_dtype(weight.dtype, weight.device)
        self._half = config.local_attention // 2
        self._heads = (config.num_attention_heads, weight.shape[1] // config.num_attention_heads)
        self._rotary = _rotary_modules(model)
        self._embed = model.embeddings
        for parameter in self._embed.parameters():
            parameter.data = parameter.data.clone()
        self._final_norm = Norm(model.final_norm, torch.float32)
        self._layers = [
            _take_layer(layer, i, config, dtype=self._dtype) for i, layer in enumerate(model.layers)
        ]

    def __call__(self, ids: Sequence[npt.NDArray[np.int32]], attended: Indices) -> torch.Tensor:
        """(n_tokens, hidden_size) float32 last hidden states, texts one after another.

        ids: one (n_tokens,) array per text
        attended: (n_texts,) how many of each text's first tokens are attended to
        """
        lengths = np.array([len(text) for text in ids], np.int64)
        packing = pack(lengths, attended)
        if packing.n_tokens == 0:
            return torch.zeros((0, self._heads[0] * self._heads[1]), device=self._device)
        joined = np.concatenate([ids[text] for text in packing.order]).astype(np.int64)
        x = self._zeros(len(joined), torch.float32)
        tokens = torch.zeros(len(x), dtype=torch.int64, device=self._device)
        tokens[: len(joined)] = torch.from_numpy(joined)
        for chunk, given in zip(self._chunks(x), self._chunks(tokens), strict=True):
            chunk.copy_(self._embed(input_ids=given[None])[0])
        self._run_layers(x, packing)
        for chunk in self._chunks(x):
            chunk.copy_(self._final_norm(chunk))
        x = x[: len(joined)]
        return x if _is_sorted(packing.order) else x[self._rows_of_texts(packing, lengths)]

    def _run_layers(self, x: torch.Tensor, packing: Packing) -> None:
        """x: (n_rows, hidden_size) float32 embedded tokens, overwritten with hidden states."""
        like = torch.empty(0, dtype=self._dtype, device=self._device)
        rows = Rows(len(x), like, shape=self._heads, half=self._half)
        varlen = VarlenAttention.of(packing, like)
        band = None if varlen else make_band(packing, self._half, like)
        rotations = {kind: self._rotation(kind, packing, len(x)) for kind in self._rotary}
        found = rows.qkv[0].transpose(0, 1)  # attention writes over the queries
        for stored in self._layers:
            layer = stored.open(self._dtype) if isinstance(stored, StoredLayer) else stored
            self._write_qkv(layer, x, rows, rotations[layer.is_local])
            if varlen:
                varlen(rows, half=self._half if layer.is_local else -1)
            elif layer.is_local:
                attend_in_band(rows, packing, band)
            else:
                attend_to_texts(rows, packing)
            for chunk, attention in zip(self._chunks(x), self._chunks(found), strict=True):
                chunk += layer.attention_out(attention.flatten(1))
                normed = layer.mlp_norm(chunk)
                hidden = layer.mlp_gate.times(normed, layer.mlp_in.gelu(normed))
                chunk += layer.mlp_out(hidden)

    def _zeros(self, n_rows: int, dtype: torch.dtype) -> torch.Tensor:
        """Rows of hidden_size, as many as chunks are cut from; the last ones stay without a token."""
        n_chunked = sum(chunk_sizes(n_rows, self._device.type))
        shape = (round_up(n_chunked), self._heads[0] * self._heads[1])
        return torch.zeros(shape, dtype=dtype, device=self._device)[:n_chunked]

    def _write_qkv(self, layer: Layer, x: torch.Tensor, rows: Rows, rotation: Rotation) -> None:
        norm, targets = layer.attention_norm, rows.qkv.permute(2, 0, 1, 3)
        parts = (self._chunks(part) for part in (x, targets, *rotation))
        for chunk, target, cos, sin in zip(*parts, strict=True):
            normed = chunk.to(self._dtype) if norm is None else norm(chunk)
            qkv = layer.qkv(normed).view(target.shape)
            _rotate(qkv[:, :2], cos, sin, target[:, :2])
            target[:, 2] = qkv[:, 2]

    def _chunks(self, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        return iter(torch.split(rows, chunk_sizes(len(rows), self._device.type)))

    def _rotation(self, is_local: bool, packing: Packing, n_rows: int) -> Rotation:
        module, options = self._rotary[is_local]
        n_positions = packing.groups[0].length
        positions = torch.arange(n_positions, device=self._device)[None]
        like = torch.empty(1, device=self._device)  # float32, so that the tables are
        of_rows = np.zeros(n_rows, np.int64)
        of_rows[: packing.n_tokens] = packing.positions()
        rows = torch.from_numpy(of_rows).to(self._device)
        cos, sin = (
            table[0, :, None, None, : self._heads[1] // 2][rows]
            for table in module(like, position_ids=positions, **options)
        )
        return cos, sin

    def _rows_of_texts(self, packing: Packing, lengths: Indices) -> torch.Tensor:
        ends = np.cumsum(lengths[packing.order])
        start_of = np.empty_like(ends)
        start_of[packing.order] = ends - lengths[packing.order]
        rows = [np.arange(a, a + n) for a, n in zip(start_of, lengths, strict=True)]
        return torch.from_numpy(np.concatenate(rows)).to(self._device)


def compute_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """What products take: float32 where the device is slow at the dtype that weights are kept in."""
    is_slow = stored == torch.bfloat16 and not is_bfloat16_fast(str(device))
    return torch.float32 if is_slow else stored


def chunk_sizes(n_rows: int, device_type: str) -> list[int]:
    """Sizes of the chunks that hold ``n_rows``, with up to 15 rows to spare.

    The last ones are powers of 2: oneDNN keeps about 1 MB for every product of another height.
    """
    largest = chunk_rows(device_type)
    rest = -(-(n_rows % largest) // 16) * 16
    sizes = [largest] * (n_rows // largest)
    return sizes + [1 << bit for bit in range(rest.bit_length() - 1, 3, -1) if rest >> bit & 1]


def chunk_rows(device_type: str) -> int:
    """Rows that go through the products between two attentions at a time."""
    return _CHUNK.get(device_type, _CHUNK["cuda"])


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, out: torch.Tensor) -> None:
    """Rotary position embedding, computed in float32.

    x, out: (n, 2, n_heads, head_dim); dimension i turns with dimension i + head_dim / 2
    """
    middle = x.shape[-1] // 2
    first, second = x[..., :middle].float(), x[..., middle:].float()
    out[..., :middle] = (first * cos).addcmul_(second, sin, value=-1)
    out[..., middle:] = (second * cos).addcmul_(first, sin)


def _rotary_modules(model: Any) -> dict[bool, tuple[Any, dict[str, str]]]:
    """What makes the tables of local (True) and global layers, and options of the call."""
    if hasattr(model, "rotary_emb"):  # transformers 5: one module
        names = {True: "sliding_attention", False: "full_attention"}
        return {kind: (model.rotary_emb, {"layer_type": name}) for kind, name in names.items()}
    config = model.config
    found: dict[bool, tuple[Any, dict[str, str]]] = {}
    for i, layer in enumerate(model.layers):
        found.setdefault(_is_local(config, i), (layer.attn.rotary_emb, {}))
    return found


def _is_local(config: Any, number: int) -> bool:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return bool(kinds[number] == "sliding_attention")
    return bool(number % config.global_attn_every_n_layers)


def _take_layer(layer: Any, number: int, config: Any, *, dtype: torch.dtype) -> Layer | StoredLayer:
    """A layer of transformers; one whose weights are not in the dtype of products stays stored."""
    norm = layer.attn_norm
    mlp_in, mlp_gate = _take(layer.mlp.Wi, n_parts=2)
    stored = StoredLayer(
        is_local=_is_local(config, number),
        attention_norm=None if isinstance(norm, torch.nn.Identity) else Norm(norm, dtype),
        mlp_norm=Norm(layer.mlp_norm, dtype),
        weights={
            "qkv": _take(layer.attn.Wqkv)[0],
            "attention_out": _take(layer.attn.Wo)[0],
            "mlp_in": mlp_in,
            "mlp_gate": mlp_gate,
            "mlp_out": _take(layer.mlp.Wo)[0],
        },
    )
    if layer.attn.Wqkv.weight.dtype == dtype:
        return stored.open(dtype)
    copies = {name: (weight.clone(), bias) for name, (weight, bias) in stored.weights.items()}
    return replace(stored, weights=copies)


def _take(
    linear: torch.nn.Linear, *, n_parts: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Views of weight and bias, cut along the output; the module lets its own weight go."""
    weights = linear.weight.detach().chunk(n_parts)
    biases = [None] * n_parts if linear.bias is None else list(linear.bias.detach().chunk(n_parts))
    linear.weight = torch.nn.Parameter(weights[0].new_empty(0), requires_grad=False)
    return list(zip(weights, biases, strict=True))


def _is_sorted(order: Indices) -> bool:
    return bool((order[1:] > order[:-1]).all())
