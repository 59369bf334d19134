"""One engine a file; heavy packages are imported inside the methods that use them.

The option "device" is "cpu", which is the default, or "cuda".
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from arrays import Texts

Options = dict[str, Any]


class Engine(Protocol):
    """What the worker asks of an engine; documents are named by their row, from 0."""

    def build(self, documents: Texts, folder: Path, options: Options) -> None:
        """Write an index to a folder that is not there yet."""

    def open(self, folder: Path, documents: Texts, options: Options, threads: int) -> None:
        """Load the index; ``options`` are for all searches that follow."""

    def pack(self, queries: list[np.ndarray]) -> Any:
        """Queries, (n_query_tokens, dim) float32 each, in the form the engine takes; untimed."""

    def search(self, packed: Any, k: int) -> Any:
        """Results of the packed queries in the engine's own form; this is what is timed."""

    def rows(self, results: Any) -> list[list[int]]:
        """Document rows of each query, best first; untimed."""


_HOMES = {
    "colmodern": ("engines.colmodern_engine", "Colmodern"),
    "exact": ("engines.exact_engine", "Exact"),
    "exact-int8": ("engines.exact_engine", "Exact"),  # with that precision as an option
    "fast-plaid": ("engines.fast_plaid_engine", "FastPlaidEngine"),
    "colsearch": ("engines.colsearch_engine", "ColsearchEngine"),
    "xtr-warp": ("engines.xtr_warp_engine", "XtrWarpEngine"),
}


def new_engine(name: str) -> Engine:
    """The engine of that name, before it has an index."""
    module, cls = _HOMES[name]
    return getattr(import_module(module), cls)()
