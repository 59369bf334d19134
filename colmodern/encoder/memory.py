"""How many tokens fit into a batch when memory is limited."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import torch

from colmodern.encoder.attention import step_rows
from colmodern.encoder.modernbert import chunk_rows, compute_dtype

_FLOAT32 = 4
_MARGIN = 1.05  # what the allocator leaves between blocks


def give_back() -> None:
    """Let the system have what is free; the GNU allocator keeps it, 70 MB after loading a base model."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def tokens_within(
    max_memory: int, config: Any, *, device: str, dtype: torch.dtype, attention: str, longest: int
) -> int:
    """Tokens of a batch whose activations take at most ``max_memory`` bytes.

    config: of the transformers backbone
    attention: how it runs, "packed" or a transformers implementation
    longest: tokens of the longest text, which padded batches pay for
    """
    fixed, per_token = _costs(config, device, dtype, attention, longest)
    return max(0, int((max_memory / _MARGIN - fixed) / per_token))


def bytes_of(
    n_tokens: int, config: Any, *, device: str, dtype: torch.dtype, attention: str, longest: int
) -> int:
    """Bytes that the activations of a batch of so many tokens take; arguments of ``tokens_within``."""
    fixed, per_token = _costs(config, device, dtype, attention, longest)
    return int((fixed + n_tokens * per_token) * _MARGIN)


def _costs(
    config: Any, device: str, dtype: torch.dtype, attention: str, longest: int
) -> tuple[int, int]:
    """Bytes of any batch, and those of each of its tokens."""
    if attention != "packed":
        return 0, padded_bytes(config, dtype.itemsize, attention=attention, longest=longest)
    kind = torch.device(device).type
    wide = compute_dtype(dtype, torch.device(device))
    item, fixed = wide.itemsize, 0
    if wide != dtype:  # a layer's weights, and the same as oneDNN lays them out
        fixed = 2 * layer_bytes(config, item)
    fixed += chunk_bytes(config, item, n_rows=chunk_rows(kind))
    fixed += step_bytes(config, item, n_rows=step_rows(kind))
    return fixed, packed_bytes(config, item)


def packed_bytes(config: Any, item: int) -> int:
    """Bytes that each token of a packed batch keeps while a layer's attention runs.

    item: bytes of an activation
    """
    hidden = config.hidden_size
    kept = hidden * _FLOAT32  # the sum over layers
    kept += 3 * hidden * item  # queries, which what they find replaces, keys and values
    return int(kept + (32 + config.local_attention) * (item + 2) + 1024)  # mask, rotary tables


def layer_bytes(config: Any, item: int) -> int:
    """Bytes of the weights of a layer."""
    return int((4 * config.hidden_size + 3 * config.intermediate_size) * config.hidden_size * item)


def chunk_bytes(config: Any, item: int, *, n_rows: int) -> int:
    """Bytes of a chunk of rows between two attentions, whatever the batch."""
    widths = 12 * config.hidden_size + 4 * config.intermediate_size
    return int(n_rows * widths * max(item, _FLOAT32) + (16 << 20))


def step_bytes(config: Any, item: int, *, n_rows: int) -> int:
    """Bytes of the queries that attend at a time and of what they find, whatever the batch."""
    return int(3 * n_rows * config.hidden_size * item)


def padded_bytes(config: Any, item: int, *, attention: str, longest: int) -> int:
    """Bytes that each cell of a padded batch takes at the widest place of a layer."""
    hidden = config.hidden_size
    widest = 10 * hidden + 3 * getattr(config, "intermediate_size", 4 * hidden)
    # scores and their softmax in float32, or the masks that sdpa is given
    pairs = config.num_attention_heads * (2 * _FLOAT32 + item) if attention == "eager" else 16
    return int(widest * item + pairs * longest)
