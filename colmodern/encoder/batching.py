"""Batches bounded by tokens, not by texts, which shrink when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from colmodern.encoder.model.packing import Indices
from colmodern.errors import ResourceError

logger = logging.getLogger(__name__)


def token_batches(
    lengths: npt.NDArray[np.int64], max_tokens: int, *, is_packed: bool = False
) -> Iterator[Indices]:
    """Batches of texts, longest first, of at most ``max_tokens`` each.

    Args:
        lengths: (n_texts,) tokens of each text; a text longer than ``max_tokens`` comes alone.
        max_tokens: Tokens of a batch.
        is_packed: Whether to count the texts' own tokens, and not the padding to the longest.

    Yields:
        (n,) indices of a batch's texts.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    start = 0
    while start < len(order):
        if is_packed:
            before = int(ends[start] - lengths[order[start]])
            n_texts = int(np.searchsorted(ends, before + max_tokens, side="right")) - start
        else:
            n_texts = max_tokens // max(1, int(lengths[order[start]]))
        stop = start + max(1, n_texts)
        yield order[start:stop]
        start = stop


def run_in_budget(
    lengths: npt.NDArray[np.int64],
    max_tokens: int,
    run: Callable[[Indices], None],
    *,
    is_packed: bool = False,
) -> int:
    """Call ``run`` on every batch; when memory runs out, halve the limit and continue.

    Args:
        lengths: (n_texts,) tokens of each text.
        max_tokens: Tokens of a batch.
        run: Computes a batch of text indices.
        is_packed: As in ``token_batches``.

    Returns:
        The limit of the last batch, a good one to begin the next call with.

    Raises:
        ResourceError: A single text does not fit into memory.
    """
    waiting = list(token_batches(lengths, max_tokens, is_packed=is_packed))[::-1]
    while waiting:
        batch = waiting.pop()
        try:
            run(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ResourceError(
                    f"a text of {lengths[batch[0]]} tokens does not fit in memory; lower "
                    "document_length or query_length, or use a device with more memory"
                ) from error
            max_tokens = max(int(lengths[batch].max()), max_tokens // 2)
            logger.warning("out of memory; continuing with batches of %d tokens", max_tokens)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            rest = np.concatenate([batch, *waiting[::-1]])
            batches = token_batches(lengths[rest], max_tokens, is_packed=is_packed)
            waiting = [rest[i] for i in batches][::-1]
    return max_tokens


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's CPU allocator has no class of its own: "DefaultCPUAllocator: can't allocate memory"
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(
        error
    )
