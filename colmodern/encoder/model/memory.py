"""Memory of a batch's activations, and how many tokens fit into a ceiling of memory."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

import torch

from colmodern.encoder.model.attention import chunk_of_queries
from colmodern.encoder.model.fused import can_fuse, fused_bytes
from colmodern.encoder.model.modernbert import compute_dtype, rows_per_chunk

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_FLOAT32 = 4
_MARGIN = 1.05  # room that the allocator leaves between blocks


def release_free_memory() -> None:
    """Return freed memory to the system.

    The GNU allocator would keep it: 70 MB after a base model was loaded.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def tokens_within(
    max_memory: int,
    config: PretrainedConfig,
    *,
    device: str,
    dtype: torch.dtype,
    attention: str,
    longest: int,
) -> int:
    """Number of tokens in a batch whose activations take at most ``max_memory`` bytes.

    Args:
        max_memory: Bytes.
        config: The configuration of the transformers backbone.
        device: "cpu" or "cuda:N".
        dtype: Dtype of the weights.
        attention: "packed" or an implementation of transformers.
        longest: Tokens of the longest text, to which batches are padded.
    """
    fixed, per_token = _costs(config, device, dtype, attention, longest)
    return max(0, int((max_memory / _MARGIN - fixed) / per_token))


def bytes_of(
    n_tokens: int,
    config: PretrainedConfig,
    *,
    device: str,
    dtype: torch.dtype,
    attention: str,
    longest: int,
) -> int:
    """Bytes of the activations of a batch of ``n_tokens``; other arguments as in ``tokens_within``."""
    fixed, per_token = _costs(config, device, dtype, attention, longest)
    return int((fixed + n_tokens * per_token) * _MARGIN)


def _costs(
    config: PretrainedConfig, device: str, dtype: torch.dtype, attention: str, longest: int
) -> tuple[int, int]:
    """Bytes of a batch whatever its size, and bytes of each of its tokens."""
    if attention != "packed":
        return 0, padded_bytes(config, dtype.itemsize, attention=attention, longest=longest)
    place = torch.device(device)
    kind, wide = place.type, compute_dtype(dtype, place)
    item, fixed = wide.itemsize, 0
    if wide == dtype and can_fuse(config, place):
        return fused_bytes(config, item, place)
    if wide != dtype:  # a layer's weights, and their copy in oneDNN's layout
        fixed = 2 * layer_bytes(config, item)
    fixed += chunk_bytes(config, item, n_rows=rows_per_chunk(kind))
    fixed += attention_bytes(config, item, n_queries=chunk_of_queries(kind))
    return fixed, packed_bytes(config, item)


def packed_bytes(config: PretrainedConfig, item: int) -> int:
    """Bytes that each token of a packed batch keeps while a layer's attention runs.

    Args:
        config: The configuration of the backbone.
        item: Bytes of an activation.
    """
    hidden = config.hidden_size
    kept = hidden * _FLOAT32  # the sum over layers
    kept += 3 * hidden * item  # keys, values, and queries, which the output overwrites
    return int(kept + (32 + config.local_attention) * (item + 2) + 1024)  # mask, rotary tables


def layer_bytes(config: PretrainedConfig, item: int) -> int:
    """Bytes of the weights of a layer."""
    return int((4 * config.hidden_size + 3 * config.intermediate_size) * config.hidden_size * item)


def chunk_bytes(config: PretrainedConfig, item: int, *, n_rows: int) -> int:
    """Bytes of a chunk of rows between two attentions, whatever the batch."""
    widths = 12 * config.hidden_size + 4 * config.intermediate_size
    return int(n_rows * widths * max(item, _FLOAT32) + (16 << 20))


def attention_bytes(config: PretrainedConfig, item: int, *, n_queries: int) -> int:
    """Bytes of the queries that attend at a time and of their output, whatever the batch."""
    return int(3 * n_queries * config.hidden_size * item)


def padded_bytes(config: PretrainedConfig, item: int, *, attention: str, longest: int) -> int:
    """Bytes that each cell of a padded batch takes where a layer is widest."""
    hidden = config.hidden_size
    widest = 10 * hidden + 3 * getattr(config, "intermediate_size", 4 * hidden)
    # scores and their softmax in float32, or the masks that sdpa takes
    pairs = config.num_attention_heads * (2 * _FLOAT32 + item) if attention == "eager" else 16
    return int(widest * item + pairs * longest)
