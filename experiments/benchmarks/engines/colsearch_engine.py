"""colsearch 0.1.7 with its shard engine; https://github.com/ddickmann/colsearch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays import Texts

from engines import Options


class ColsearchEngine:
    """Options beside the device are those of colsearch.Index; by default its float16 lane."""

    def build(self, documents: Texts, folder: Path, options: Options) -> None:
        """Add all documents at once."""
        index = self._index(folder, documents.dim, options)
        index.add(documents.in_memory(), ids=list(range(documents.n_docs)))
        index.flush()
        index.close()

    def open(self, folder: Path, documents: Texts, options: Options, threads: int) -> None:
        """Load the index."""
        self.index = self._index(folder, documents.dim, options)

    def pack(self, queries: list[np.ndarray]) -> Any:
        """Arrays as they are."""
        return queries

    def search(self, packed: Any, k: int) -> Any:
        """One query, or a batch."""
        if len(packed) == 1:
            return [self.index.search(packed[0], k=k)]
        return self.index.search_batch(packed, k=k)

    def rows(self, results: Any) -> list[list[int]]:
        """Document numbers, best first."""
        return [[match.doc_id for match in ranking] for ranking in results]

    @staticmethod
    def _index(folder: Path, dim: int, options: Options) -> Any:
        from colsearch import Index

        settings = {"compression": "fp16", **options}
        return Index(str(folder), dim=dim, engine="shard", **settings)
