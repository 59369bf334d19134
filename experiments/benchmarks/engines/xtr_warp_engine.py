"""xtr-warp-rs 2.1; https://github.com/pau-mensa/xtr-warp-rs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays import Texts

from engines import Options


class XtrWarpEngine:
    """Search options are those of XTRWarp.search; without any it chooses nprobe and the rest."""

    def build(self, documents: Texts, folder: Path, options: Options) -> None:
        """Defaults of the package."""
        import torch
        from xtr_warp import XTRWarp

        texts = [torch.from_numpy(text) for text in documents.rows()]
        settings = {"device": "cpu", **options}
        XTRWarp(str(folder)).create(texts, show_progress=False, **settings)

    def open(self, folder: Path, documents: Texts, options: Options, threads: int) -> None:
        """Map the index."""
        import torch
        from xtr_warp import XTRWarp

        torch.set_num_threads(threads)
        settings = dict(options)
        device = settings.pop("device", "cpu")
        self.index = XTRWarp(str(folder)).load(
            device=device, dtype=torch.float32, mmap=device == "cpu"
        )
        self.options: Options = {"show_progress": False, "num_threads": threads, **settings}

    def pack(self, queries: list[np.ndarray]) -> Any:
        """A tensor a query; the package pads a batch with rows of zeros, which score nothing."""
        import torch

        return [torch.from_numpy(query) for query in queries]

    def search(self, packed: Any, k: int) -> Any:
        """Queries are shared among threads."""
        return self.index.search(packed, top_k=k, **self.options)

    def rows(self, results: Any) -> list[list[int]]:
        """(row, score) pairs, best first."""
        return [[row for row, _ in ranking] for ranking in results]
