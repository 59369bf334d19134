"""torch's own attention over texts laid end to end, on GPUs that have it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from colmodern.encoder.model.attention import AttentionBuffers
from colmodern.encoder.model.packing import Group, Packing
from colmodern.kernels.cuda.memory import to_device


class VarlenAttention:
    """Attention of torch.nn.attention.varlen over neighbouring groups of a packing.

    Its window is aligned to the last key, so every token of a text must be attended to.
    """

    def __init__(self, groups: Sequence[Group], device: torch.device) -> None:
        lengths = [group.length for group in groups for _ in range(group.n_texts)]
        ends = np.cumsum([0, *lengths], dtype=np.int32)
        self._ends, self._longest = to_device(ends, device), max(lengths)
        self._rows = slice(groups[0].start, groups[-1].stop)

    @classmethod
    def of(cls, packing: Packing, like: torch.Tensor) -> VarlenAttention | None:
        """An instance for a packing; None where torch, device, dtype or texts do not allow it."""
        return cls(packing.groups, like.device) if takes(packing, like) else None

    def __call__(self, buffers: AttentionBuffers, *, half: int) -> None:
        """Attend; the output overwrites the queries.

        Args:
            buffers: Queries, keys and values.
            half: Tokens seen to either side, -1 for all.
        """
        buffers.queries[self._rows].copy_(self.output(buffers, half=half))

    def output(self, buffers: AttentionBuffers, *, half: int) -> torch.Tensor:
        """The (n_rows, n_heads, head_dim) output by itself; arguments as of a call."""
        attend = _varlen()
        assert attend is not None
        # each (n_rows, n_heads, head_dim)
        q = buffers.queries[self._rows]
        k, v = buffers.keys_values[:, :, self._rows].transpose(1, 2).unbind(0)
        ends, longest = self._ends, self._longest
        found: torch.Tensor = attend(
            q, k, v, ends, ends, longest, longest, window_size=(half, half)
        )
        return found


def takes(packing: Packing, like: torch.Tensor) -> bool:
    """Whether torch has the function, for this device and dtype, and every token is attended to."""
    is_attended = all(group.attended == group.length for group in packing.groups)
    is_half = like.dtype in (torch.float16, torch.bfloat16)
    if not (is_attended and is_half and like.device.type == "cuda" and _varlen()):
        return False
    return torch.cuda.get_device_capability(like.device) >= (8, 0)


@cache
def _varlen() -> Callable[..., Any] | None:
    """The function of torch, None in versions where it takes no window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "window_size" in inspect.signature(varlen_attn).parameters else None
