"""A codec that assigns tokens to centroids on a GPU, with the same codes as the CPU's."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from threading import Lock

import numpy as np
import torch

from colmodern.codecs.centroids import Centroids, Floats, Ints, quantize
from colmodern.codecs.codec import Codec
from colmodern.kernels.cuda.assign import DeviceCentroids, assign_centroids
from colmodern.kernels.cuda.memory import in_tiles, naming_memory, on
from colmodern.kernels.cuda.runtime import is_interpreted
from colmodern.kernels.types import TokenGroups

_interpreter = Lock()  # Triton's interpreter changes its own module while a kernel runs
_FEWEST_TOKENS = 1024  # tokens at a time; where these do not fit, fewer hardly would


def codec_on_device(codec: Codec, device: torch.device) -> Codec:
    """The codec with its centroids on a GPU; safe for any number of threads."""
    return replace(codec, centroids=_centroids_on_device(codec.centroids, device))


def _centroids_on_device(centroids: Centroids, device: torch.device) -> CudaCentroids:
    values = {field_.name: getattr(centroids, field_.name) for field_ in fields(Centroids)}
    return CudaCentroids(**values, device=device)


@dataclass
class _Tile:
    """The number of tokens at a time; lower once the GPU had no memory for more."""

    n_tokens: int = 1 << 22


@dataclass(frozen=True, eq=False)
class CudaCentroids(Centroids):
    """Centroids that are also on a GPU."""

    device: torch.device
    tile: _Tile = field(default_factory=_Tile)

    def _assign_groups(self, values: Floats, groups: TokenGroups, codes: Ints) -> None:
        """Assign tokens on the GPU, fewer at a time where its memory runs out.

        Raises ResourceError when even the fewest are too many.
        """
        with (
            naming_memory("the centroids and a few tokens", "free some, lower n_centroids"),
            on(self.device),
            _interpreter if is_interpreted() else nullcontext(),
        ):
            n_tokens = len(groups.order)

            def assign(start: int, stop: int) -> None:
                if stop - start == n_tokens:  # no copies
                    assign_centroids(values, groups, self._tensors, codes)
                    return
                tokens = groups.order[start:stop]
                offsets = np.clip(groups.offsets, start, stop) - start
                chunk = groups._replace(order=np.arange(len(tokens)), offsets=offsets)
                chunk_codes = np.empty(len(tokens), codes.dtype)
                assign_centroids(values[tokens], chunk, self._tensors, chunk_codes)
                codes[tokens] = chunk_codes

            wanted = self.tile.n_tokens
            held = in_tiles(n_tokens, wanted, assign, what="tokens", least=_FEWEST_TOKENS)
            if held < wanted:
                self.tile.n_tokens = held

    @cached_property
    def _tensors(self) -> DeviceCentroids:
        arrays = (self.values, self.scales, self.half_norms)
        return DeviceCentroids(
            *(torch.from_numpy(np.array(array)).to(self.device) for array in arrays)
        )

    @cached_property
    def _cell_means(self) -> Centroids:
        assert self.coarse is not None
        ends = np.array([0, len(self.coarse)])
        return _centroids_on_device(quantize(self.coarse, ends, None, None), self.device)
