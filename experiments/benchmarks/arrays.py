"""Embedding stores read with NumPy alone: the peers' environment has no colmodern."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np


class Texts:
    """The token embeddings of a store's texts, mapped from its plain .npy files.

    folder: an embedding store, as colmodern.ragged.store writes it
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = json.loads((folder / "manifest.json").read_text())
        self.n_docs: int = manifest["n_docs"]
        self.n_tokens: int = manifest["n_tokens"]
        self.dim: int = manifest["dim"]
        # copy on write: torch warns about arrays that it may not write to
        self._shards = [
            (
                np.load(folder / shard["name"] / "values.npy", mmap_mode="c"),
                np.load(folder / shard["name"] / "offsets.npy"),
            )
            for shard in manifest["shards"]
        ]

    def rows(self) -> list[np.ndarray]:
        """One (n_tokens, dim) view a text, in the dtype of the store."""
        return [
            values[start:stop]
            for values, offsets in self._shards
            for start, stop in pairwise(offsets)
        ]

    def in_memory(self) -> list[np.ndarray]:
        """One (n_tokens, dim) float32 copy a text: for queries."""
        return [np.ascontiguousarray(text, dtype=np.float32) for text in self.rows()]
