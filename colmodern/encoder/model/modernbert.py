"""ModernBERT without padding, whose local layers are computed inside their window only.

Source: Warner et al. 2024, "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder".

The forward pass over the checkpoint's weights is our own: transformers 4.48 passes attention a
private dictionary and rotates inside it, version 5 has a general interface for padded batches, and
neither can run the layers between two attentions in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from colmodern.encoder.checkpoint.weights import TOKEN_TABLE, TokenTable, Weights, rotary_bases
from colmodern.encoder.model.attention import (
    AttentionBuffers,
    attend_in_band,
    attend_to_texts,
    make_band,
)
from colmodern.encoder.model.fused import FusedLayer, FusedLayers, ProductWeights, can_fuse
from colmodern.encoder.model.linear import Linear, make_linear
from colmodern.encoder.model.packing import Indices, Packing, pack
from colmodern.encoder.model.precision import is_bfloat16_fast
from colmodern.encoder.model.rotary import (
    pair_dimensions,
    rotary_angles,
    rotate,
    rotations_of,
)
from colmodern.encoder.model.short import are_short, padded_rows, run_short
from colmodern.encoder.model.varlen import VarlenAttention
from colmodern.kernels.cuda.memory import to_device

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# rows that go through the products between two attentions at a time: a CPU's cache holds them
_CHUNK = {"cpu": 512, "cuda": 16_384}


class Norm:
    """Layer norm of float32 rows; its output has the dtype of the products."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, eps: float, dtype: torch.dtype
    ) -> None:
        self._weight, self._bias = weight.float(), None if bias is None else bias.float()
        self._eps, self._dtype = eps, dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (n, hidden) float32 rows."""
        return F.layer_norm(x, x.shape[1:], self._weight, self._bias, self._eps).to(self._dtype)


@dataclass(frozen=True)
class Layer:
    """A layer, ready to run; norms compute in float32, and None leaves the input as it is."""

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

    Attributes:
        is_local: Whether attention is limited to a window.
        attention_norm: Norm before attention, None to leave its input as it is.
        mlp_norm: Norm before the MLP.
        weights: Weight and bias of each Linear of a Layer, by the field's name.
    """

    is_local: bool
    attention_norm: Norm | None
    mlp_norm: Norm
    weights: dict[str, tuple[torch.Tensor, torch.Tensor | None]]

    def open(self, dtype: torch.dtype) -> Layer:
        """The layer that runs, with copies of its weights in this dtype."""
        linears = {
            name: make_linear(weight.to(dtype), None if bias is None else bias.to(dtype))
            for name, (weight, bias) in self.weights.items()
        }
        return Layer(self.is_local, self.attention_norm, self.mlp_norm, **linears)


class PackedModernBert:
    """The backbone of an encoder: token ids in, hidden states out, real tokens only.

    The sum over layers is kept in float32, whatever the dtype of weights and activations.
    """

    def __init__(
        self,
        config: PretrainedConfig,
        weights: Weights,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Copy the weights, which may be views of mapped files; a mapped token table stays mapped.

        Args:
            config: The configuration of transformers.
            weights: Weights by the names of transformers' ModernBertModel.
            device: Where the model runs.
            dtype: Dtype of the weights, and of activations where the device multiplies it fast.
        """
        self._device, self._dtype = device, compute_dtype(dtype, device)
        self._like = torch.empty(0, dtype=self._dtype, device=device)
        self._half = config.local_attention // 2
        n_heads = config.num_attention_heads
        self._heads = (n_heads, config.hidden_size // n_heads)
        self._bases = rotary_bases(config)
        self._table = TokenTable(weights[TOKEN_TABLE], device, dtype)
        copies = _WeightCopies(weights, device, dtype)
        eps = config.norm_eps
        self._first_norm = Norm(*copies("embeddings.norm"), eps, torch.float32)
        self._final_norm = Norm(*copies("final_norm"), eps, torch.float32)
        self._fused: FusedLayers | None = None
        self._layers: list[Layer | StoredLayer] = []
        numbers = range(config.num_hidden_layers)
        if dtype == self._dtype and can_fuse(config, device):
            layers = [_fused_layer(copies, i, config) for i in numbers]
            final_norm = _norm_weights(copies, "final_norm")
            self._fused = FusedLayers(layers, final_norm, config, self._bases)
        else:
            self._layers = [_make_layer(copies, i, config, self._dtype) for i in numbers]

    def __call__(self, ids: Sequence[npt.NDArray[np.int32]], attended: Indices) -> torch.Tensor:
        """Compute the last hidden states.

        Args:
            ids: One (n_tokens,) array of token ids per text.
            attended: (n_texts,) how many of each text's first tokens are attended to.

        Returns:
            (n_tokens, hidden_size) hidden states, texts one after another: float32, or of the dtype
            of the products where the layers are fused.
        """
        lengths = np.array([len(text) for text in ids], np.int64)
        packing = pack(lengths, attended)
        if packing.n_tokens == 0:
            return torch.zeros((0, self._heads[0] * self._heads[1]), device=self._device)
        joined = np.concatenate([ids[text] for text in packing.order]).astype(np.int64)
        if self._fused:
            states = self._run_fused(joined, packing)
        elif are_short(packing, self._half, self._like):
            states = self._run_short(joined, packing)
        else:
            states = self._run(joined, packing)
        is_sorted = _is_sorted(packing.order)
        return states if is_sorted else states[self._unpacked_order(packing, lengths)]

    def _run_fused(self, joined: Indices, packing: Packing) -> torch.Tensor:
        """Hidden states of (n_tokens,) token ids in packed order."""
        assert self._fused is not None
        x = self._first_norm(self._table(to_device(joined, self._device)).float())
        self._table.release_pages()
        return self._fused(x, packing)

    def _run_short(self, joined: Indices, packing: Packing) -> torch.Tensor:
        """The same for a few short texts on a CPU."""
        n_rows = padded_rows(len(joined))
        tokens = torch.from_numpy(_padded(joined, n_rows))
        x = self._first_norm(self._table(tokens).float())
        self._table.release_pages()
        rotations = self._rotations_of_rows(packing, n_rows, self._short_rotations)
        x = run_short(map(self._open, self._layers), x, packing, rotations)
        return self._final_norm(x)[: len(joined)]

    def _run(self, joined: Indices, packing: Packing) -> torch.Tensor:
        """The same by the layers that run everywhere, chunk by chunk."""
        n_rows = sum(chunk_sizes(len(joined), self._device.type))
        tokens = torch.from_numpy(_padded(joined, n_rows)).to(self._device)
        x = [self._first_norm(self._table(chunk).float()) for chunk in self._chunks(tokens)]
        self._table.release_pages()
        self._run_layers(x, packing)
        states = torch.empty((n_rows, x[0].shape[1]), device=self._device)
        for chunk, out in zip(x, self._chunks(states), strict=True):
            out.copy_(self._final_norm(chunk))
        return states[: len(joined)]

    def _run_layers(self, x: list[torch.Tensor], packing: Packing) -> None:
        """Run all layers over (n, hidden_size) float32 chunks, replaced by their hidden states."""
        like, n_rows = self._like, sum(map(len, x))
        buffers = AttentionBuffers(n_rows, like, shape=self._heads, half=self._half)
        varlen = VarlenAttention.of(packing, like)
        band = None if varlen else make_band(packing, self._half, like)
        of_positions = self._rotations(packing.groups[0].length)
        rotations = self._rotations_of_rows(packing, n_rows, of_positions)
        outputs = buffers.queries.flatten(1)  # attention overwrites the queries
        for stored in self._layers:
            layer = self._open(stored)
            self._write_qkv(layer, x, buffers, rotations[layer.is_local])
            if varlen:
                varlen(buffers, half=self._half if layer.is_local else -1)
            elif layer.is_local:
                attend_in_band(buffers, packing, band)
            else:
                attend_to_texts(buffers, packing)
            for i, attention in enumerate(self._chunks(outputs)):
                chunk = layer.attention_out.plus(attention, x[i])
                normed = layer.mlp_norm(chunk)
                hidden = layer.mlp_gate.times(normed, layer.mlp_in.gelu(normed))
                x[i] = layer.mlp_out.plus(hidden, chunk)

    def _open(self, layer: Layer | StoredLayer) -> Layer:
        return layer.open(self._dtype) if isinstance(layer, StoredLayer) else layer

    def _write_qkv(
        self,
        layer: Layer,
        x: list[torch.Tensor],
        buffers: AttentionBuffers,
        rotations: torch.Tensor,
    ) -> None:
        norm, keys_values = layer.attention_norm, buffers.keys_values.permute(2, 0, 1, 3)
        chunked = (self._chunks(array) for array in (buffers.queries, keys_values, rotations))
        for chunk, queries, kv, rotation in zip(x, *chunked, strict=True):
            normed = chunk.to(self._dtype) if norm is None else norm(chunk)
            q, k, v = layer.qkv(normed).view(len(chunk), 3, *self._heads).unbind(1)
            rotate(q, rotation, queries)
            rotate(k, rotation, kv[:, 0])
            kv[:, 1] = v

    def _chunks(self, array: torch.Tensor) -> Iterator[torch.Tensor]:
        return iter(torch.split(array, chunk_sizes(len(array), self._device.type)))

    @cached_property
    def _short_rotations(self) -> dict[bool, torch.Tensor]:
        """Rotations of all positions of short texts, in local (True) and global layers."""
        return self._rotations(self._half + 1)

    def _rotations(self, n_positions: int) -> dict[bool, torch.Tensor]:
        """(n_positions, 1, head_dim / 2) rotations in local (True) and global layers."""
        sizes = (n_positions, self._heads[1], self._device)
        return {
            is_local: rotations_of(rotary_angles(base, *sizes))
            for is_local, base in self._bases.items()
        }

    def _rotations_of_rows(
        self, packing: Packing, n_rows: int, of_positions: dict[bool, torch.Tensor]
    ) -> dict[bool, torch.Tensor]:
        """(n_rows, 1, head_dim / 2) rotations; rows to spare have those of the first position."""
        positions = torch.from_numpy(_padded(packing.positions(), n_rows)).to(self._device)
        return {is_local: rotations[positions] for is_local, rotations in of_positions.items()}

    def _unpacked_order(self, packing: Packing, lengths: Indices) -> torch.Tensor:
        """(n_tokens,) packed row of each token, in the caller's order of texts."""
        ends = np.cumsum(lengths[packing.order])
        start_of = np.empty_like(ends)
        start_of[packing.order] = ends - lengths[packing.order]
        ranges = [np.arange(a, a + n) for a, n in zip(start_of, lengths, strict=True)]
        return to_device(np.concatenate(ranges), self._device)


def _padded(values: Indices, n_rows: int) -> Indices:
    """(n_rows,) values with zeros after them."""
    padded = np.zeros(n_rows, np.int64)
    padded[: len(values)] = values
    return padded


def compute_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """Dtype of the products: float32 where the device is slow at the dtype of stored weights."""
    is_slow = stored == torch.bfloat16 and not is_bfloat16_fast(str(device))
    return torch.float32 if is_slow else stored


def chunk_sizes(n_rows: int, device_type: str) -> list[int]:
    """Sizes of the chunks that hold ``n_rows``, with up to 15 rows to spare.

    The last sizes are powers of 2: oneDNN keeps about 1 MB for every distinct height of a product.
    """
    largest = rows_per_chunk(device_type)
    rest = padded_rows(n_rows % largest)
    sizes = [largest] * (n_rows // largest)
    return sizes + [1 << bit for bit in range(rest.bit_length() - 1, 3, -1) if rest >> bit & 1]


def rows_per_chunk(device_type: str) -> int:
    """Number of rows that go through the products between two attentions at a time."""
    return _CHUNK.get(device_type, _CHUNK["cuda"])


def _is_local(config: PretrainedConfig, number: int) -> bool:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return bool(kinds[number] == "sliding_attention")
    return bool(number % config.global_attn_every_n_layers)


class _WeightCopies:
    """Makes copies of weights and biases on a device, so that no view of a file is kept."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._weights, self._device = weights, device

    def __call__(self, name: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight, bias = (self._weights.get(f"{name}.{kind}") for kind in ("weight", "bias"))
        if weight is None:
            raise KeyError(name)
        return self._copy(weight), None if bias is None else self._copy(bias)

    def _copy(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.detach().to(self._device, self.dtype, copy=True)


def _fused_layer(copies: _WeightCopies, number: int, config: PretrainedConfig) -> FusedLayer:
    name, head_dim = f"layers.{number}.", config.hidden_size // config.num_attention_heads
    weight, bias = copies(name + "attn.Wqkv")
    qkv_bias = None if bias is None else pair_dimensions(bias, head_dim)
    return FusedLayer(
        is_local=_is_local(config, number),
        attention_norm=None if number == 0 else _norm_weights(copies, name + "attn_norm"),
        mlp_norm=_norm_weights(copies, name + "mlp_norm"),
        qkv=ProductWeights(pair_dimensions(weight, head_dim), qkv_bias),
        attention_out=ProductWeights(*copies(name + "attn.Wo")),
        mlp_in=ProductWeights(*copies(name + "mlp.Wi")),
        mlp_out=ProductWeights(*copies(name + "mlp.Wo")),
    )


def _norm_weights(copies: _WeightCopies, name: str) -> ProductWeights:
    weight, bias = copies(name)
    return ProductWeights(weight.float(), None if bias is None else bias.float())


def _make_layer(
    copies: _WeightCopies, number: int, config: PretrainedConfig, dtype: torch.dtype
) -> Layer | StoredLayer:
    """A layer that runs, or a stored one where weights are not in ``dtype``, that of products."""
    name, head_dim = f"layers.{number}.", config.hidden_size // config.num_attention_heads
    weight, bias = copies(name + "attn.Wqkv")
    qkv = pair_dimensions(weight, head_dim)
    qkv_bias = None if bias is None else pair_dimensions(bias, head_dim)
    mlp_in, mlp_gate = _halves(*copies(name + "mlp.Wi"))
    stored = StoredLayer(
        is_local=_is_local(config, number),
        attention_norm=None
        if number == 0
        else Norm(*copies(name + "attn_norm"), config.norm_eps, dtype),
        mlp_norm=Norm(*copies(name + "mlp_norm"), config.norm_eps, dtype),
        weights={
            "qkv": (qkv, qkv_bias),
            "attention_out": copies(name + "attn.Wo"),
            "mlp_in": mlp_in,
            "mlp_gate": mlp_gate,
            "mlp_out": copies(name + "mlp.Wo"),
        },
    )
    return stored.open(dtype) if copies.dtype == dtype else stored


def _halves(
    weight: torch.Tensor, bias: torch.Tensor | None
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Weights and biases of two linear layers, from one that is cut in half along its output."""
    biases = [None, None] if bias is None else list(bias.chunk(2))
    return list(zip(weight.chunk(2), biases, strict=True))


def _is_sorted(order: Indices) -> bool:
    return bool((order[1:] > order[:-1]).all())
