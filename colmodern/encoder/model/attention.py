"""Attention over texts laid end to end: whole texts, or each token's window alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from colmodern.encoder.model.packing import Packing
from colmodern.kernels.cuda.memory import to_device

# queries that share their keys: small blocks waste least of a window, GPUs want larger products
_BLOCK = {"cpu": 32, "cuda": 128}
# queries that attend at a time: their output takes memory until it overwrites them
_CHUNK = {"cpu": 2048, "cuda": 65_536}
_CHUNK_SCORES = 1 << 21  # scores in memory at a time: a CPU's cache holds them


@dataclass(frozen=True)
class Band:
    """The attention mask of long texts in a layer with a window.

    Attributes:
        half: Tokens seen to either side.
        n_rows: Rows of the long texts, which come first.
        mask: (n_blocks, 1, block, block + 2 * half), 0 where a key is seen, else -inf.
        blind: (n,) rows that see no key at all: expansion tokens that nothing attends to, far from
            the text; None where every token is attended to.
    """

    half: int
    n_rows: int
    mask: torch.Tensor
    blind: torch.Tensor | None

    @property
    def block(self) -> int:
        """Number of queries that share their keys."""
        return self.mask.shape[2]


class AttentionBuffers:
    """Queries, keys and values of all tokens, with a margin so that every window lies inside.

    Attributes:
        queries: (n_tokens, n_heads, head_dim), the layout of the products before and after;
            attention overwrites them with its output.
        keys_values: (2, n_heads, n_tokens, head_dim) view without the margin.
    """

    def __init__(
        self, n_tokens: int, like: torch.Tensor, *, shape: tuple[int, int], half: int
    ) -> None:
        """Allocate buffers, with zeros in the margins.

        Args:
            n_tokens: Tokens of the batch.
            like: A tensor on the device and of the dtype of the buffers.
            shape: (n_heads, head_dim).
            half: Tokens of the margin to either side, half a window.
        """
        n_heads, head_dim = shape
        self.margin = half
        # the last block may reach past the last row
        n_rows = round_up(n_tokens) + block_of(like.device)
        self._queries = like.new_empty((n_rows, n_heads, head_dim))
        self._keys_values = like.new_empty((2, n_heads, half + n_rows + half, head_dim))
        self._queries[n_tokens:] = 0  # masked, but 0 times uninitialized memory may be nan
        self._keys_values[:, :, :half] = 0
        self._keys_values[:, :, half + n_tokens :] = 0
        self.queries = self._queries[:n_tokens]
        self.keys_values = self._keys_values[:, :, half : half + n_tokens]

    def blocks(self, first: int, n_blocks: int, block: int) -> torch.Tensor:
        """(n_blocks, n_heads, block, head_dim) view of the queries from row ``first``."""
        queries = self._queries[first : first + n_blocks * block]
        return queries.view(n_blocks, block, *queries.shape[1:]).transpose(1, 2)

    def windows(self, first: int, n_blocks: int, block: int, size: int) -> torch.Tensor:
        """(2, n_blocks, n_heads, size, head_dim) view: ``size`` rows from every ``block``-th row.

        Args:
            first: Row of the first window, at least -margin.
            n_blocks: Number of windows.
            block: Rows from one window to the next.
            size: Rows of a window.
        """
        stored = self._keys_values
        kind, head, row, column = stored.stride()
        return stored.as_strided(
            (2, n_blocks, stored.shape[1], size, stored.shape[3]),
            (kind, block * row, head, row, column),
            stored.storage_offset() + (self.margin + first) * row,
        )


class JoinedBuffers(AttentionBuffers):
    """The same as one product writes it: each row's queries, keys and values side by side.

    Attributes:
        rows: (n_tokens, 3, n_heads, head_dim), contiguous.
    """

    def __init__(
        self, n_tokens: int, like: torch.Tensor, *, shape: tuple[int, int], half: int
    ) -> None:
        """Allocate buffers; arguments as of AttentionBuffers, half 0 where no layer has a band."""
        self.margin = half
        n_rows = n_tokens + (block_of(like.device) if half else 0)
        joined = like.new_empty((half + n_rows + half, 3, *shape))
        joined[:half] = 0
        joined[half + n_tokens :] = 0
        self.rows = joined[half : half + n_tokens]
        self._queries = joined[half : half + n_rows, 0]
        self._keys_values = joined.permute(1, 2, 0, 3)[1:]
        self.queries = self._queries[:n_tokens]
        self.keys_values = self._keys_values[:, :, half : half + n_tokens]


def round_up(n_rows: int) -> int:
    """Rows to allocate: batches of similar size then reuse the same memory."""
    return -(-n_rows // 512) * 512


def block_of(device: torch.device) -> int:
    """Number of queries that share their keys on this device."""
    return _BLOCK.get(device.type, _BLOCK["cuda"])


def chunk_of_queries(device_type: str) -> int:
    """Number of queries that attend at a time on this type of device."""
    return _CHUNK.get(device_type, _CHUNK["cuda"])


def make_band(
    packing: Packing, half: int, like: torch.Tensor, *, longer_than: int = 0
) -> Band | None:
    """The band of the texts with more than ``half`` + 1 tokens; shorter texts need no mask.

    Args:
        packing: The batch.
        half: Tokens seen to either side.
        like: A tensor on the device and of the dtype of the activations.
        longer_than: Texts of at most so many tokens are left out as well.
    """
    n_rows = packing.n_longer_than(max(half + 1, longer_than))
    if n_rows == 0:
        return None
    block = block_of(like.device)
    n_blocks = -(-n_rows // block)
    texts = np.full(half + n_blocks * block + half, -1)  # rows of the margins belong to no text
    texts[half : half + n_rows] = packing.texts()[:n_rows]
    is_key = np.zeros(len(texts), np.bool_)
    is_key[half : half + n_rows] = packing.is_attended()[:n_rows]
    device = like.device
    text, key = to_device(texts, device), to_device(is_key, device)
    size = block + 2 * half
    queries = text[half : half + n_blocks * block].view(n_blocks, block, 1)
    offsets = torch.arange(block, device=device)[:, None]
    distance = torch.arange(size, device=device) - half - offsets
    is_seen = text.unfold(0, size, block)[:, None] == queries
    is_seen &= key.unfold(0, size, block)[:, None]
    is_seen &= distance.abs() <= half
    is_blind = ~is_seen.any(dim=2)
    mask = torch.zeros(is_seen.shape, dtype=like.dtype, device=like.device)
    # a row of -inf alone would be nan; its output is set to 0 afterwards
    mask.masked_fill_(~is_seen & ~is_blind[:, :, None], -torch.inf)
    blind = None
    if not is_key[half : half + n_rows].all():  # counting rows makes the host wait for a GPU
        blind = is_blind.view(-1)[:n_rows].nonzero().view(-1)
    return Band(half, n_rows, mask[:, None], blind)


def attend_to_texts(buffers: AttentionBuffers, packing: Packing, *, start: int = 0) -> None:
    """Let every row attend to the attended rows of its text; the output overwrites the queries.

    Args:
        buffers: Queries, keys and values.
        packing: The batch.
        start: First row, where a group begins.
    """
    step = chunk_of_queries(buffers.queries.device.type)
    for group in packing.groups:
        if group.start < start:
            continue
        each = (group.n_texts, group.length)
        kv = buffers.keys_values[:, :, group.start : group.stop]
        q = buffers.queries[group.start : group.stop]
        q = q.view(*each, *q.shape[1:]).transpose(1, 2)
        if group.attended == 0:  # without keys the output is 0
            q.zero_()
            continue
        k, v = kv.view(*kv.shape[:2], *each, kv.shape[3]).transpose(1, 2)[..., : group.attended, :]
        n_texts = max(1, step // group.length)
        for text in range(0, group.n_texts, n_texts):
            texts = slice(text, text + n_texts)
            for row in range(0, group.length, step):
                queries = q[texts, :, row : row + step]
                queries.copy_(_attend(queries, k[texts], v[texts]))


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention of (n_texts, n_heads, length, head_dim) arrays; keys may be fewer than queries."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        return _attend_in_chunks(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


def _attend_in_chunks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention as two products with bf16 scores between them, as the eager implementation does.

    On CPUs torch's fused attention multiplies bf16 no faster than float32; oneDNN does.
    """
    n_queries, n_keys = q.shape[2], k.shape[2]
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    scaled = q * q.shape[3] ** -0.5
    flat_q, flat_k, flat_v, flat_out = (x.reshape(-1, *x.shape[2:]) for x in (scaled, k, v, out))
    n_rows = min(n_queries, max(1, _CHUNK_SCORES // n_keys))
    n_pairs = max(1, _CHUNK_SCORES // (n_rows * n_keys))  # pairs of a text and a head
    for pair in range(0, len(flat_q), n_pairs):
        pairs = slice(pair, pair + n_pairs)
        keys = flat_k[pairs].transpose(1, 2)
        for row in range(0, n_queries, n_rows):
            chunk = (pairs, slice(row, row + n_rows))
            scores = torch.bmm(flat_q[chunk], keys)
            torch.bmm(scores.softmax(-1), flat_v[pairs], out=flat_out[chunk])
    return out


def attend_in_band(buffers: AttentionBuffers, packing: Packing, band: Band | None) -> None:
    """Let every row attend to the attended rows of its text at most ``band.half`` away.

    The output overwrites the queries.
    """
    if band is None:
        attend_to_texts(buffers, packing)
        return
    attend_to_windows(buffers, band)
    attend_to_texts(buffers, packing, start=band.n_rows)


def attend_to_windows(buffers: AttentionBuffers, band: Band) -> None:
    """The same for the rows of the band alone, block by block: no full mask is made."""
    queries, block, size = buffers.queries, band.block, band.mask.shape[3]
    n_blocks = chunk_of_queries(queries.device.type) // block
    for first in range(0, len(band.mask), n_blocks):
        mask, start = band.mask[first : first + n_blocks], first * block
        q = buffers.blocks(start, len(mask), block)
        k, v = buffers.windows(start - band.half, len(mask), block, size)
        output = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        # the last block may reach into shorter texts, whose queries are still needed
        long_queries = queries[start : min(start + len(mask) * block, band.n_rows)]
        long_queries.copy_(output.transpose(1, 2).flatten(0, 1)[: len(long_queries)])
    if band.blind is not None:
        queries[band.blind] = 0
