"""A stand-in for torch's attention over texts laid end to end, which loops over them."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def by_texts(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    starts: torch.Tensor,
    starts_of_keys: torch.Tensor,
    longest: int,
    longest_key: int,
    *,
    window_size: tuple[int, int],
) -> torch.Tensor:
    """The contract of torch.nn.attention.varlen.varlen_attn."""
    assert (starts.dtype, starts.tolist()) == (torch.int32, starts_of_keys.tolist())
    found = torch.empty_like(q)
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        assert stop - start <= longest == longest_key
        positions = torch.arange(stop - start)
        is_seen = torch.ones(stop - start, stop - start, dtype=torch.bool)
        if window_size != (-1, -1):
            distance = positions[None] - positions[:, None]
            is_seen = (distance >= -window_size[0]) & (distance <= window_size[1])
        text = [x[start:stop].transpose(0, 1) for x in (q, k, v)]
        found[start:stop] = F.scaled_dot_product_attention(*text, attn_mask=is_seen).transpose(0, 1)
    return found
