"""ModernBERT without padding, its local layers computed inside their window only.

A forward of our own over the checkpoint's weights: transformers 4.48 gives attention a dictionary
of its own and rotates inside it, 5 has a general interface that takes padded batches, and neither
lets the layers between run in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
)
from colmodern.encoder.linear import Linear, make_linear
from colmodern.encoder.packing import Indices, Packing, pack
from colmodern.encoder.precision import is_bfloat16_fast
from colmodern.encoder.varlen import VarlenAttention
from colmodern.encoder.weights import TOKEN_TABLE, TokenTable, Weights, rotary_bases

_CHUNK = {"cpu": 512, "cuda": 16_384}  # rows between attentions at a time: a CPU's cache holds them


class Norm:
    """Layer norm of float32 rows, in the dtype that the products take."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, eps: float, dtype: torch.dtype
    ) -> None:
        self._weight, self._bias = weight.float(), None if bias is None else bias.float()
        self._eps, self._dtype = eps, dtype

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

    def __init__(
        self, config: Any, weights: Weights, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Take over weights, which may be views of mapped files: all but the table are copied.

        config: of transformers; weights: by the names of its ModernBertModel
        dtype: of weights, and of activations where the device multiplies it fast enough
        """
        self._device, self._dtype = device, compute_dtype(dtype, device)
        self._half = config.local_attention // 2
        n_heads = config.num_attention_heads
        self._heads = (n_heads, config.hidden_size // n_heads)
        self._bases = rotary_bases(config)
        self._table = TokenTable(weights[TOKEN_TABLE], device, dtype)
        taken = _Taken(weights, device, dtype)
        eps = config.norm_eps
        self._first_norm = Norm(*taken("embeddings.norm"), eps, torch.float32)
        self._final_norm = Norm(*taken("final_norm"), eps, torch.float32)
        self._layers = [
            _take_layer(taken, i, config, self._dtype) for i in range(config.num_hidden_layers)
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
        n_rows = sum(chunk_sizes(len(joined), self._device.type))
        tokens = torch.zeros(n_rows, dtype=torch.int64, device=self._device)
        tokens[: len(joined)] = torch.from_numpy(joined)
        x = [self._first_norm(self._table(some).float()) for some in self._chunks(tokens)]
        self._table.let_go()
        self._run_layers(x, packing)
        states = torch.empty((n_rows, x[0].shape[1]), device=self._device)
        for chunk, out in zip(x, self._chunks(states), strict=True):
            out.copy_(self._final_norm(chunk))
        states = states[: len(joined)]
        is_sorted = _is_sorted(packing.order)
        return states if is_sorted else states[self._rows_of_texts(packing, lengths)]

    def _run_layers(self, x: list[torch.Tensor], packing: Packing) -> None:
        """x: (n, hidden_size) float32 chunks of embedded tokens, replaced by hidden states."""
        like = torch.empty(0, dtype=self._dtype, device=self._device)
        n_rows = sum(map(len, x))
        rows = Rows(n_rows, like, shape=self._heads, half=self._half)
        varlen = VarlenAttention.of(packing, like)
        band = None if varlen else make_band(packing, self._half, like)
        turns = {kind: self._turns(base, packing, n_rows) for kind, base in self._bases.items()}
        found = rows.queries.flatten(1)  # attention writes over the queries
        for stored in self._layers:
            layer = stored.open(self._dtype) if isinstance(stored, StoredLayer) else stored
            self._write_qkv(layer, x, rows, turns[layer.is_local])
            if varlen:
                varlen(rows, half=self._half if layer.is_local else -1)
            elif layer.is_local:
                attend_in_band(rows, packing, band)
            else:
                attend_to_texts(rows, packing)
            for i, attention in enumerate(self._chunks(found)):
                chunk = layer.attention_out.plus(attention, x[i])
                normed = layer.mlp_norm(chunk)
                hidden = layer.mlp_gate.times(normed, layer.mlp_in.gelu(normed))
                x[i] = layer.mlp_out.plus(hidden, chunk)

    def _write_qkv(
        self, layer: Layer, x: list[torch.Tensor], rows: Rows, turns: torch.Tensor
    ) -> None:
        norm, kept = layer.attention_norm, rows.keys_values.permute(2, 0, 1, 3)
        parts = (self._chunks(part) for part in (rows.queries, kept, turns))
        for chunk, queries, kv, turn in zip(x, *parts, strict=True):
            normed = chunk.to(self._dtype) if norm is None else norm(chunk)
            q, k, v = layer.qkv(normed).view(len(chunk), 3, *self._heads).unbind(1)
            _rotate(q, turn, queries)
            _rotate(k, turn, kv[:, 0])
            kv[:, 1] = v

    def _chunks(self, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        return iter(torch.split(rows, chunk_sizes(len(rows), self._device.type)))

    def _turns(self, base: float, packing: Packing, n_rows: int) -> torch.Tensor:
        """(n_rows, 1, head_dim / 2) complex64, by which pairs of dimensions are multiplied."""
        head_dim = self._heads[1]
        exponents = torch.arange(0, head_dim, 2, device=self._device).float() / head_dim
        positions = torch.arange(packing.groups[0].length, device=self._device).float()
        angles = positions[:, None, None] * (1.0 / base**exponents)
        of_rows = np.zeros(n_rows, np.int64)
        of_rows[: packing.n_tokens] = packing.positions()
        rows = torch.from_numpy(of_rows).to(self._device)
        return torch.complex(angles.cos(), angles.sin())[rows]

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


def _rotate(x: torch.Tensor, turns: torch.Tensor, out: torch.Tensor) -> None:
    """Rotary position embedding, computed in float32.

    x, out: (n, n_heads, head_dim), pairs of dimensions side by side; turns: (n, 1, head_dim / 2)
    """
    turned = _as_complex(x.float())
    if out.dtype == torch.float32:
        torch.mul(turned, turns, out=_as_complex(out))
    else:
        out.copy_(torch.view_as_real(turned * turns).flatten(-2))


def _as_complex(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def _side_by_side(part: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Output rows of Wqkv (or its bias) so that dimensions which turn together are neighbours.

    Queries and keys alike, so that no score changes; i turns with i + head_dim / 2.
    """
    n = len(part) // 3 * 2
    halves = part[:n].view(-1, 2, head_dim // 2, *part.shape[1:])
    return torch.cat([halves.transpose(1, 2).reshape(part[:n].shape), part[n:]])


def _is_local(config: Any, number: int) -> bool:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return bool(kinds[number] == "sliding_attention")
    return bool(number % config.global_attn_every_n_layers)


class _Taken:
    """Copies of weights and biases on a device, so that no view of a file is kept."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._weights, self._device = weights, device

    def __call__(self, name: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight, bias = (self._weights.get(f"{name}.{kind}") for kind in ("weight", "bias"))
        if weight is None:
            raise KeyError(name)
        return self._copy(weight), None if bias is None else self._copy(bias)

    def _copy(self, part: torch.Tensor) -> torch.Tensor:
        return part.detach().to(self._device, self.dtype, copy=True)


def _take_layer(taken: _Taken, number: int, config: Any, dtype: torch.dtype) -> Layer | StoredLayer:
    """A layer; one whose weights are not in ``dtype``, that of products, stays stored."""
    name, head_dim = f"layers.{number}.", config.hidden_size // config.num_attention_heads
    qkv, bias = taken(name + "attn.Wqkv")
    turned = _side_by_side(qkv, head_dim), None if bias is None else _side_by_side(bias, head_dim)
    mlp_in, mlp_gate = _halves(*taken(name + "mlp.Wi"))
    stored = StoredLayer(
        is_local=_is_local(config, number),
        attention_norm=None
        if number == 0
        else Norm(*taken(name + "attn_norm"), config.norm_eps, dtype),
        mlp_norm=Norm(*taken(name + "mlp_norm"), config.norm_eps, dtype),
        weights={
            "qkv": turned,
            "attention_out": taken(name + "attn.Wo"),
            "mlp_in": mlp_in,
            "mlp_gate": mlp_gate,
            "mlp_out": taken(name + "mlp.Wo"),
        },
    )
    return stored.open(dtype) if taken.dtype == dtype else stored


def _halves(
    weight: torch.Tensor, bias: torch.Tensor | None
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Two linear layers of one, cut along the output."""
    biases = [None, None] if bias is None else list(bias.chunk(2))
    return list(zip(weight.chunk(2), biases, strict=True))


def _is_sorted(order: Indices) -> bool:
    return bool((order[1:] > order[:-1]).all())
