"""Compiling ahead of time, so that neither a build nor a search in a new installation has to."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colmodern.codecs.residuals import ResidualKind
from colmodern.errors import StorageError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.plaid.search.first_answer import SearchKind, compile_kind
from colmodern.index.plaid.search.state import load_state
from colmodern.kernels.cpu.jit import cache_folder, kept_in
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of

# one of each pair of forms that kernels are compiled for; other numbers of bits are like "pq"
_CODECS: tuple[ResidualKind, ...] = ("residual", "pq")
_N_DOCS, _N_DOC_TOKENS, _DIM = 40, 4, 32


class CompiledKernels(NamedTuple):
    """Kernels that are in the cache now, and the seconds that it took to put them there."""

    name: str
    seconds: float


def warm_up(indexes: Sequence[Path] = ()) -> Iterator[CompiledKernels]:
    """Fill the cache with the kernels of searches, and of builds where no index is named.

    Args:
        indexes: Folders of indexes whose searches are compiled; by default small ones are built.

    Yields:
        What was compiled, one after another.

    Raises:
        StorageError: The cache folder cannot be written, or an index cannot be read.
    """
    if kept_in() != cache_folder():
        raise StorageError(
            f"compiled kernels cannot be kept in {cache_folder()}; set COLMODERN_CACHE to a folder "
            "that may be written"
        )
    for path in indexes:
        yield from _searches(path, str(path))
    if indexes:
        return
    with tempfile.TemporaryDirectory(prefix="colmodern-warmup-") as folder:
        for codec in _CODECS:
            path, start = Path(folder) / codec, time.perf_counter()
            PlaidIndex.build(_documents(), path, nbits=4, codec=codec)
            yield CompiledKernels(f"build, {codec}", time.perf_counter() - start)
            yield from _searches(path, codec)


def _searches(path: Path, name: str) -> Iterator[CompiledKernels]:
    """Compile the searches of an index: in one call and by steps."""
    view = load_state(path).view
    for is_one_call in (True, False):
        start = time.perf_counter()
        compile_kind(view, SearchKind(is_one_call, is_rescored=False))
        way = "search in one call" if is_one_call else "search by steps"
        yield CompiledKernels(f"{way}, {name}", time.perf_counter() - start)


def _documents() -> TokenEmbeddings:
    values = np.random.default_rng(0).normal(size=(_N_DOCS * _N_DOC_TOKENS, _DIM))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenEmbeddings(values.astype(np.float32), offsets_of([_N_DOC_TOKENS] * _N_DOCS))
