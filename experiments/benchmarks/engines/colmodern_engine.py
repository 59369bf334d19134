"""colmodern.PlaidIndex."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays import Texts

from engines import Options


class Colmodern:
    """Build options go to PlaidIndex.build; search options are nprobe, n_candidates and rescore."""

    def build(self, documents: Texts, folder: Path, options: Options) -> None:
        """Build from the store itself, which is mapped and streamed."""
        from colmodern import PlaidIndex

        PlaidIndex.build(documents.folder, folder, **options)

    def open(self, folder: Path, documents: Texts, options: Options, threads: int) -> None:
        """Map the index, and the store of embeddings when the last candidates are rescored."""
        from colmodern import PlaidIndex
        from colmodern.ragged.store import EmbeddingStore

        settings = dict(options)
        device = settings.pop("device", "cpu")
        self.index = PlaidIndex.load(folder, device=device, while_compiling="wait")
        self.options: Options = {**settings, "n_threads": threads}
        store = EmbeddingStore(documents.folder)
        self.row_of = {doc_id: row for row, doc_id in enumerate(store.doc_ids)}
        if options.get("rescore"):
            self.options["rescore"] = store

    def pack(self, queries: list[np.ndarray]) -> Any:
        """TokenEmbeddings, or the array itself of a single query."""
        from colmodern import TokenEmbeddings

        return queries[0] if len(queries) == 1 else TokenEmbeddings.from_list(queries)

    def search(self, packed: Any, k: int) -> Any:
        """``search`` for one query, ``search_batch`` for more."""
        if isinstance(packed, np.ndarray):
            return [self.index.search(packed, k, **self.options)]
        return self.index.search_batch(packed, k, **self.options)

    def rows(self, results: Any) -> list[list[int]]:
        """Row numbers behind the store's ids."""
        return [[self.row_of[doc_id] for doc_id, _ in ranking] for ranking in results]
