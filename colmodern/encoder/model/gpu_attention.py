"""Attention of a batch on a GPU: each part of it by the function of torch that is fastest there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import groupby

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from colmodern.encoder.model.attention import (
    AttentionBuffers,
    attend_in_band,
    attend_to_texts,
    attend_to_windows,
    make_band,
)
from colmodern.encoder.model.packing import Group, Packing
from colmodern.encoder.model.varlen import VarlenAttention, takes

_LONG = 1024  # tokens from which attention, and not its launches, is what a text takes
# cuDNN plans each shape anew, which takes longer than it saves where lengths are arbitrary; texts
# cut at document_length have one, and it is nearly always a multiple of this
_EVEN = 128
_FASTEST_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


class GpuAttention:
    """Attention over one packing.

    Where varlen attention takes the batch, long texts of one even length attend through cuDNN in
    global layers and in bands in local ones, and all others through varlen attention. Elsewhere
    texts attend in groups of one length, and in bands in local layers.

    Attributes:
        margin: Rows of zeros that the buffers need to either side, for windows.
    """

    def __init__(self, packing: Packing, half: int, like: torch.Tensor) -> None:
        """Plan the parts.

        Args:
            packing: The batch, with at least one token.
            half: Tokens that local layers see to either side.
            like: A tensor on the device and of the dtype of the activations.
        """
        self._packing, self._half = packing, half
        self._is_varlen = takes(packing, like)
        least = _LONG - 1 if self._is_varlen else 0
        self._band = make_band(packing, half, like, longer_than=least)
        self.margin = 0 if self._band is None else half
        self._even: list[Group] = []
        self._rest_of: dict[bool, list[VarlenAttention]] = {}
        if self._is_varlen:
            self._even = [group for group in packing.groups if _is_even(group)]
            n_band_rows = 0 if self._band is None else self._band.n_rows
            taken = {
                True: {group for group in packing.groups if group.start < n_band_rows},
                False: set(self._even),
            }
            for is_local, groups in taken.items():
                runs = _runs_without(packing.groups, groups)
                self._rest_of[is_local] = [VarlenAttention(run, like.device) for run in runs]

    def __call__(self, buffers: AttentionBuffers, *, is_local: bool) -> torch.Tensor:
        """Attend; the queries are overwritten.

        Args:
            buffers: Queries, keys and values, with ``margin`` rows.
            is_local: Whether the layer sees a window alone.

        Returns:
            (n_tokens, n_heads * head_dim) output, rows of the buffers or of an array of its own.
        """
        if not self._is_varlen:
            if is_local:
                attend_in_band(buffers, self._packing, self._band)
            else:
                attend_to_texts(buffers, self._packing)
            return buffers.queries.flatten(1)
        half, rest = (self._half if is_local else -1), self._rest_of[is_local]
        if len(rest) == 1 and not (self._band if is_local else self._even):  # no copy
            return rest[0].output(buffers, half=half).flatten(1)
        if is_local and self._band is not None:
            attend_to_windows(buffers, self._band)
        for group in [] if is_local else self._even:
            attend_evenly(buffers, group)
        for varlen in rest:
            varlen(buffers, half=half)
        return buffers.queries.flatten(1)


def attend_evenly(buffers: AttentionBuffers, group: Group) -> None:
    """Let every row of a group attend to its whole text; the output overwrites the queries."""
    each = (group.n_texts, group.length)
    queries = buffers.queries[group.start : group.stop]
    q = queries.view(*each, *queries.shape[1:]).transpose(1, 2)
    kv = buffers.keys_values[:, :, group.start : group.stop]
    k, v = kv.view(*kv.shape[:2], *each, kv.shape[3]).transpose(1, 2)
    with _fastest_first():
        output = F.scaled_dot_product_attention(q, k, v)
    queries.copy_(output.transpose(1, 2).flatten(0, 1))


def _is_even(group: Group) -> bool:
    return group.length >= _LONG and group.length % _EVEN == 0


def _runs_without(groups: Sequence[Group], taken: set[Group]) -> Iterator[list[Group]]:
    """Neighbouring groups that are not taken, together."""
    for is_taken, run in groupby(groups, key=taken.__contains__):
        if not is_taken:
            yield list(run)


def _fastest_first() -> AbstractContextManager[None]:
    """Lets torch try cuDNN first; older versions have an order of their own."""
    return sdpa_kernel(_FASTEST_FIRST, set_priority=True) if _has_priority() else nullcontext()


@cache
def _has_priority() -> bool:
    return "set_priority" in inspect.signature(sdpa_kernel).parameters
