"""The GPUs that an index is searched on, filled when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.index.plaid.search.stored import StoredEmbeddings
from colmodern.index.plaid.search.view import View
from colmodern.kernels.types import SearchBudget

if TYPE_CHECKING:
    import torch

    from colmodern.index.plaid.cuda.search import CudaSearch
    from colmodern.kernels.cuda.batches import Matches


class LazyCudaSearch:
    """Search on one GPU or several, which the first search fills.

    memory: bytes that may stay on each, default most of what is free
    """

    def __init__(self, devices: Sequence[torch.device], memory: int | None) -> None:
        self._devices = devices
        self._memory = memory
        self._filled: tuple[tuple[str, ...], CudaSearch] | None = None
        self._lock = Lock()

    def search(
        self,
        queries: Sequence[npt.NDArray[np.float32]],
        view: View,
        budget: SearchBudget,
        stored: StoredEmbeddings | None,
    ) -> list[Matches]:
        """The n_scored best documents of each query from each GPU; fills the GPUs first if need be."""
        if view.n_open == 0:
            return [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        return self._fill(view).search(queries, view, budget, stored)

    def _fill(self, view: View) -> CudaSearch:
        """The GPUs with the segments of a view; deletions and filters do not fill them anew."""
        from colmodern.index.plaid.cuda.search import CudaSearch

        names = tuple(segment.name for segment in view.segments)
        with self._lock:
            if self._filled is None or self._filled[0] != names:
                self._filled = None  # its memory is needed now
                self._filled = names, CudaSearch(view, self._devices, self._memory)
            return self._filled[1]
