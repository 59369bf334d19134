"""Attention over texts laid end to end: whole texts, or each token's window alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from colmodern.encoder.packing import Packing

# queries that share their keys: small ones waste least of a window, GPUs want larger products
_BLOCK = {"cpu": 32, "cuda": 128}


@dataclass(frozen=True)
class Band:
    """What the rows of long texts see in a layer with a window.

    half: tokens seen to either side
    n_rows: rows of the texts it is for, the first ones
    mask: (n_blocks, 1, block, block + 2 * half) 0 where a key is seen, else -inf
    blind: (n,) rows that see no key at all: expansion tokens, not attended to, far from the text
    """

    half: int
    n_rows: int
    mask: torch.Tensor
    blind: torch.Tensor

    @property
    def block(self) -> int:
        """Queries that share their keys."""
        return self.mask.shape[2]


class Rows:
    """Queries, keys and values of every row, with a margin so that all windows lie inside.

    qkv: (n_tokens, 3, n_heads, head_dim) a view without the margin
    """

    def __init__(self, n_tokens: int, like: torch.Tensor, *, shape: tuple[int, int], half: int):
        """like: of the device and dtype wanted; shape: (n_heads, head_dim)."""
        self.margin = half
        # the last block may reach past the last row
        n_rows = half + n_tokens + block_of(like.device) + half
        self._all = torch.empty((n_rows, 3, *shape), dtype=like.dtype, device=like.device)
        self._all[:half] = 0  # masked, but 0 times what malloc left there may be nan
        self._all[half + n_tokens :] = 0
        self.qkv = self._all[half : half + n_tokens]

    def windows(self, part: int, first: int, n_blocks: int, block: int, size: int) -> torch.Tensor:
        """(n_blocks, n_heads, size, head_dim) view: ``size`` rows from every ``block``-th row.

        part: 0 queries, 1 keys, 2 values
        first: row of the first window, from -margin
        """
        rows = self._all[:, part]
        row, head, column = rows.stride()
        return rows.as_strided(
            (n_blocks, rows.shape[1], size, rows.shape[2]),
            (block * row, head, row, column),
            rows.storage_offset() + (self.margin + first) * row,
        )


def block_of(device: torch.device) -> int:
    """Queries that share their keys on this device."""
    return _BLOCK.get(device.type, _BLOCK["cuda"])


def make_band(packing: Packing, half: int, like: torch.Tensor) -> Band | None:
    """The band of the texts with more than ``half`` + 1 tokens; shorter ones see all of theirs.

    like: of the device and dtype of the activations
    """
    n_rows = packing.n_longer_than(half + 1)
    if n_rows == 0:
        return None
    block = block_of(like.device)
    n_blocks = -(-n_rows // block)
    texts = np.full(half + n_blocks * block + half, -1)  # rows of the margins belong to no text
    texts[half : half + n_rows] = packing.texts()[:n_rows]
    is_key = np.zeros(len(texts), np.bool_)
    is_key[half : half + n_rows] = packing.is_attended()[:n_rows]
    to_device = {"device": like.device}
    text, key = torch.tensor(texts, **to_device), torch.tensor(is_key, **to_device)
    size = block + 2 * half
    queries = text[half : half + n_blocks * block].view(n_blocks, block, 1)
    distance = torch.arange(size, **to_device) - half - torch.arange(block, **to_device)[:, None]
    is_seen = text.unfold(0, size, block)[:, None] == queries
    is_seen &= key.unfold(0, size, block)[:, None]
    is_seen &= distance.abs() <= half
    is_blind = ~is_seen.any(dim=2)
    mask = torch.zeros(is_seen.shape, dtype=like.dtype, device=like.device)
    # a row of -inf alone would be nan; its output is set to 0 afterwards
    mask.masked_fill_(~is_seen & ~is_blind[:, :, None], -torch.inf)
    blind = is_blind.view(-1)[:n_rows].nonzero().view(-1)
    return Band(half, n_rows, mask[:, None], blind)


def attend_to_texts(rows: Rows, packing: Packing, out: torch.Tensor, *, start: int = 0) -> None:
    """Every row sees the attended rows of its text.

    out: (n_tokens, n_heads * head_dim) written from row ``start``, where a group begins
    """
    for group in packing.groups:
        if group.start < start:
            continue
        qkv = rows.qkv[group.start : group.stop]
        target = out[group.start : group.stop]
        if group.attended == 0:  # nothing to see adds nothing
            target.zero_()
            continue
        q, k, v = qkv.view(group.n_texts, group.length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
        n_keys = group.attended
        found = F.scaled_dot_product_attention(q, k[:, :, :n_keys], v[:, :, :n_keys])
        target.copy_(found.transpose(1, 2).reshape(target.shape))


def attend_in_band(rows: Rows, packing: Packing, out: torch.Tensor, band: Band | None) -> None:
    """Every row sees the attended rows of its text that are at most ``band.half`` away.

    out: (n_tokens, n_heads * head_dim) is written
    """
    n_rows = 0
    if band is not None:
        n_rows, block, size = band.n_rows, band.block, band.mask.shape[3]
        n_blocks = len(band.mask)
        found = F.scaled_dot_product_attention(
            rows.windows(0, 0, n_blocks, block, block),
            rows.windows(1, -band.half, n_blocks, block, size),
            rows.windows(2, -band.half, n_blocks, block, size),
            attn_mask=band.mask,
        )
        out[:n_rows] = found.transpose(1, 2).reshape(n_blocks * block, -1)[:n_rows]
        out[band.blind] = 0
    attend_to_texts(rows, packing, out, start=n_rows)
