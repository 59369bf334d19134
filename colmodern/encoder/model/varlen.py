"""torch's own attention over texts laid end to end, on GPUs that have it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from colmodern.encoder.model.attention import AttentionBuffers
from colmodern.encoder.model.packing import Packing


class VarlenAttention:
    """Attention of torch.nn.attention.varlen over one packing.

    Its window is aligned to the last key, so every token of a text must be attended to.
    """

    def __init__(self, packing: Packing, device: torch.device) -> None:
        lengths = [group.length for group in packing.groups for _ in range(group.n_texts)]
        ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        self._ends, self._longest = ends.to(device), max(lengths)
        self._n_tokens = packing.n_tokens

    @classmethod
    def of(cls, packing: Packing, like: torch.Tensor) -> VarlenAttention | None:
        """An instance for a packing; None where torch, device, dtype or texts do not allow it."""
        is_attended = all(group.attended == group.length for group in packing.groups)
        is_half = like.dtype in (torch.float16, torch.bfloat16)
        if not (is_attended and is_half and like.device.type == "cuda" and _varlen()):
            return None
        if torch.cuda.get_device_capability(like.device) < (8, 0):
            return None
        return cls(packing, like.device)

    def __call__(self, buffers: AttentionBuffers, *, half: int) -> None:
        """Attend; the output overwrites the queries.

        Args:
            buffers: Queries, keys and values.
            half: Tokens seen to either side, -1 for all.
        """
        attend = _varlen()
        assert attend is not None
        # each (n_tokens, n_heads, head_dim)
        q = buffers.queries[: self._n_tokens]
        k, v = buffers.keys_values[:, :, : self._n_tokens].transpose(1, 2).unbind(0)
        ends, longest = self._ends, self._longest
        q.copy_(attend(q, k, v, ends, ends, longest, longest, window_size=(half, half)))


@cache
def _varlen() -> Callable[..., Any] | None:
    """The function of torch, None in versions where it takes no window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "window_size" in inspect.signature(varlen_attn).parameters else None
