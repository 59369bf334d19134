"""Batches of texts of like length with their targets, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from model import CLS, DOCUMENT, LONGEST, QUERY, SEP

Rows = npt.NDArray[np.float32]
_POOL = 1 << 19  # tokens that are sorted by length at a time
_SHORT = 40  # tokens; shorter texts are queries half of the time
_LONG_EVERY = 8  # one in so many batches is of long texts


@dataclass(frozen=True)
class Texts:
    """One collection as targets.py wrote it.

    ids: (n_tokens,) uint16; targets: (n_tokens, teacher's dim) float16; offsets: (n_texts + 1,)
    int64; axes: (teacher's dim, dim) float32
    """

    ids: npt.NDArray[np.uint16]
    targets: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    axes: Rows

    @classmethod
    def open(cls, folder: Path) -> Texts:
        """Targets stay on disk until they are read."""
        names = ("ids", "targets", "offsets")
        arrays = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in names)
        return cls(*arrays, np.load(folder.parent / "axes.npy"))

    def project(self, start: int, stop: int) -> Rows:
        """(stop - start, dim) unit rows: targets of tokens on the axes."""
        rows = np.asarray(self.targets[start:stop], np.float32) @ self.axes
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


@dataclass(frozen=True)
class Batch:
    """Padded texts.

    ids: (n_texts, length) int64; mask: the same shape, 1 at tokens, None without padding
    targets: (n_texts, length, dim) float32, rows of zeros where nothing is learned
    """

    ids: torch.Tensor
    mask: torch.Tensor | None
    targets: torch.Tensor


def make_batches(
    collections: list[Texts], *, size: int, seed: int, held_out: int, is_held_out: bool = False
) -> Iterator[Batch]:
    """Batches of about ``size`` tokens, once over all texts.

    held_out: texts at the end of each collection that are only given if ``is_held_out``
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number, texts in enumerate(collections):
        n_texts = len(texts.offsets) - 1
        picked = (
            np.arange(n_texts - held_out, n_texts) if is_held_out else np.arange(n_texts - held_out)
        )
        rows += [(number, int(i), int(i) + 1) for i in picked]
    order = rng.permutation(len(rows))
    pool: list[tuple[int, int, int]] = []
    n_pooled = 0
    for index in order:
        pool.append(rows[index])
        n_pooled += _length(collections, rows[index])
        if n_pooled >= _POOL or index == order[-1]:
            cut = list(_cut(collections, pool, size))
            rng.shuffle(cut)
            for i, batch in enumerate(cut):
                if i % _LONG_EVERY == 0 and not is_held_out:
                    yield _pad(collections, _join(collections, rng, size, held_out), rng)
                yield _pad(collections, batch, rng)
            pool, n_pooled = [], 0


def _length(collections: list[Texts], row: tuple[int, int, int]) -> int:
    number, start, stop = row
    return int(collections[number].offsets[stop] - collections[number].offsets[start])


def _cut(
    collections: list[Texts], pool: list[tuple[int, int, int]], size: int
) -> Iterator[list[tuple[int, int, int]]]:
    pool = sorted(pool, key=lambda row: -_length(collections, row))
    while pool:
        n_texts = max(1, size // (_length(collections, pool[0]) + 1))
        yield pool[:n_texts]
        pool = pool[n_texts:]


def _join(
    collections: list[Texts], rng: np.random.Generator, size: int, held_out: int
) -> list[tuple[int, int, int]]:
    """Runs of neighbouring texts, as long as a batch allows, from one collection."""
    weights = np.array([len(texts.ids) for texts in collections], float)
    number = int(rng.choice(len(collections), p=weights / weights.sum()))
    offsets = collections[number].offsets
    length = int(rng.integers(512, LONGEST - 2))
    joined = []
    for _ in range(max(1, size // length)):
        start = int(rng.integers(0, len(offsets) - 1 - held_out))
        stop = int(np.searchsorted(offsets, offsets[start] + length, side="right")) - 1
        joined.append((number, start, min(max(stop, start + 1), len(offsets) - 1 - held_out)))
    return joined


def _pad(
    collections: list[Texts], rows: list[tuple[int, int, int]], rng: np.random.Generator
) -> Batch:
    texts = [_text(collections[number], start, stop, rng) for number, start, stop in rows]
    length = max(len(ids) for ids, _ in texts)
    ids = np.zeros((len(texts), length), np.int64)
    mask = np.zeros((len(texts), length), np.int64)
    targets = np.zeros((len(texts), length, texts[0][1].shape[1]), np.float32)
    for i, (own, target) in enumerate(texts):
        ids[i, : len(own)], mask[i, : len(own)], targets[i, : len(own)] = own, 1, target
    is_full = bool(mask.all())
    return Batch(
        torch.from_numpy(ids),
        None if is_full else torch.from_numpy(mask),
        torch.from_numpy(targets),
    )


def _text(
    texts: Texts, start: int, stop: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Rows]:
    """Ids with a marker after [CLS], which has the target of [CLS]; joined texts lose their own ends."""
    first, last = int(texts.offsets[start]), int(texts.offsets[stop])
    ids, targets = texts.ids[first:last].astype(np.int64), texts.project(first, last)
    if stop - start > 1:
        inside = ~np.isin(ids, (CLS, SEP))
        zero = np.zeros((1, targets.shape[1]), targets.dtype)
        ids = np.concatenate([[CLS], ids[inside], [SEP]])
        targets = np.concatenate([zero, targets[inside], zero])
    is_query = len(ids) < _SHORT and rng.random() < 0.5
    ids = np.insert(ids, 1, QUERY if is_query else DOCUMENT)
    return ids, np.concatenate([targets[:1], targets])
