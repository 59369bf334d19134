"""The layers of ModernBERT over a few short texts on a CPU, in as few operations as possible.

A query has some twenty tokens. Cutting rows into chunks and copying queries, keys and values to
buffers of their own takes as long there as the products do, so all rows go through each product
together, and attention reads what the product wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from colmodern.encoder.model.packing import Packing
from colmodern.encoder.model.rotary import as_complex

if TYPE_CHECKING:
    from colmodern.encoder.model.modernbert import Layer

_MOST_ROWS = 128
_MULTIPLE = 16  # oneDNN keeps some megabytes for every distinct height of a product


def are_short(packing: Packing, half: int, like: torch.Tensor) -> bool:
    """Whether the layers of this module run a batch.

    Args:
        packing: The batch, with at least one token.
        half: Tokens that local layers see to either side: shorter texts need no window.
        like: A tensor on the device and of the dtype of the activations.
    """
    is_plain = like.device.type == "cpu" and like.dtype == torch.float32
    return is_plain and packing.n_tokens <= _MOST_ROWS and packing.n_longer_than(half + 1) == 0


def padded_rows(n_tokens: int) -> int:
    """Rows of a batch of ``n_tokens``, with up to 15 to spare."""
    return -(-n_tokens // _MULTIPLE) * _MULTIPLE


def run_short(
    layers: Iterable[Layer],
    x: torch.Tensor,
    packing: Packing,
    rotations: dict[bool, torch.Tensor],
) -> torch.Tensor:
    """Run all layers.

    Args:
        layers: The layers in their order.
        x: (n_rows, hidden_size) float32 rows in packed order, as many as ``padded_rows`` says.
        packing: The batch.
        rotations: (n_rows, 1, head_dim / 2) complex64 factors of pairs of dimensions in local
            (True) and global layers.

    Returns:
        (n_rows, hidden_size) float32 hidden states, before the last norm.
    """
    rotations = {kind: factors[:, None] for kind, factors in rotations.items()}
    for layer in layers:
        normed = x if layer.attention_norm is None else layer.attention_norm(x)
        head_dim = 2 * rotations[layer.is_local].shape[-1]
        qkv = layer.qkv(normed).view(len(x), 3, -1, head_dim)
        as_complex(qkv[:, :2]).mul_(rotations[layer.is_local])
        x = layer.attention_out.plus(_attend(qkv, packing), x)
        normed = layer.mlp_norm(x)
        hidden = layer.mlp_gate.times(normed, layer.mlp_in.gelu(normed))
        x = layer.mlp_out.plus(hidden, x)
    return x


def _attend(qkv: torch.Tensor, packing: Packing) -> torch.Tensor:
    """The (n_rows, hidden_size) output of attention to (n_rows, 3, n_heads, head_dim) rows."""
    outputs = []
    for group in packing.groups:
        rows = qkv[group.start : group.stop].view(group.n_texts, group.length, *qkv.shape[1:])
        q, k, v = rows.permute(2, 0, 3, 1, 4)
        if group.attended:
            keys = slice(group.attended)
            output = F.scaled_dot_product_attention(q, k[:, :, keys], v[:, :, keys])
        else:
            output = torch.zeros_like(q)
        outputs.append(output.transpose(1, 2).flatten(0, 1).flatten(1))
    outputs.append(qkv.new_zeros(len(qkv) - packing.n_tokens, outputs[0].shape[1]))
    return torch.cat(outputs)
