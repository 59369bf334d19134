"""fast-plaid 1.7; https://github.com/lightonai/fast-plaid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays import Texts

from engines import Options


class FastPlaidEngine:
    """Search options are those of FastPlaid.search: n_ivf_probe and n_full_scores."""

    def build(self, documents: Texts, folder: Path, options: Options) -> None:
        """Defaults of the package, but no copy of the embeddings beside a small index."""
        import torch
        from fast_plaid.search import FastPlaid

        texts = [torch.from_numpy(text) for text in documents.rows()]
        # up to start_from_scratch documents the package keeps a pickle of all embeddings for updates
        settings = dict(options)
        index = FastPlaid(str(folder), device=settings.pop("device", "cpu"))
        index.create(texts, start_from_scratch=0, **settings)

    def open(self, folder: Path, documents: Texts, options: Options, threads: int) -> None:
        """Load the index."""
        import torch
        from fast_plaid.search import FastPlaid

        torch.set_num_threads(threads)
        settings = dict(options)
        self.index = FastPlaid(str(folder), device=settings.pop("device", "cpu"))
        # n_processes: threads that share out the queries of a batch
        self.options: Options = {"show_progress": False, "n_processes": threads, **settings}

    def pack(self, queries: list[np.ndarray]) -> Any:
        """A tensor a query; the package packs them without padding."""
        import torch

        return [torch.from_numpy(query) for query in queries]

    def search(self, packed: Any, k: int) -> Any:
        """A batch is shared among threads, a single query uses those of torch."""
        return self.index.search(packed, top_k=k, **self.options)

    def rows(self, results: Any) -> list[list[int]]:
        """(row, score) pairs, best first."""
        return [[row for row, _ in ranking] for ranking in results]
