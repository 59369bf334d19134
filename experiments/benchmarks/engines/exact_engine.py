"""colmodern.ExactIndex: every document scored, from the mapped store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays import Texts

from engines import Options


class Exact:
    """There is nothing to build: the store is the index."""

    def build(self, documents: Texts, folder: Path, options: Options) -> None:
        """Leave an empty folder."""
        folder.mkdir(parents=True)

    def open(self, folder: Path, documents: Texts, options: Options, threads: int) -> None:
        """Map the store."""
        import torch

        from colmodern import ExactIndex

        torch.set_num_threads(threads)
        self.index = ExactIndex.load(
            documents.folder,
            device=options.get("device", "cpu"),
            precision=options.get("precision", "float32"),
        )

    def pack(self, queries: list[np.ndarray]) -> Any:
        """TokenEmbeddings of all queries."""
        from colmodern import TokenEmbeddings

        return TokenEmbeddings.from_list(queries)

    def search(self, packed: Any, k: int) -> Any:
        """One pass over all documents."""
        return self.index.search_batch(packed, k)

    def rows(self, results: Any) -> list[list[int]]:
        """Rows of the store's own ids."""
        row_of = {doc_id: row for row, doc_id in enumerate(self.index.doc_ids)}
        return [[row_of[doc_id] for doc_id, _ in ranking] for ranking in results]
