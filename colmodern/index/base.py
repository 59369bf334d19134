"""The interface that every kind of index meets.

A kind of index keeps these laws, which tests/index/test_kinds.py checks for each:

- Results are the best documents by descending score, at most ``k``; ties go to the smaller doc_id.
- ``search_batch`` gives each query the results of ``search``, in the order of the queries.
- A query without tokens scores 0 with every document.
- InputError refuses a ``k`` below 1, another dim, and values that are not finite.
- ``close`` may be called again; every other use of a closed index raises InputError.
- A pickle of an index opens as the same index elsewhere.
- ``len(index)`` is ``n_docs``; ``doc_id in index`` says whether a search can return the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Results, ScoredDoc


class Index(Protocol):
    """Documents that are searched by MaxSim with the token embeddings of a query."""

    @property
    def n_docs(self) -> int:
        """Number of documents that a search can return."""
        ...

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, doc_id: object) -> bool: ...

    def search(self, query: npt.ArrayLike, k: int = 10) -> Results[ScoredDoc]:
        """The best ``k`` documents for one (n_query_tokens, dim) query, best first."""
        ...

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        progress: Progress | bool | None = None,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries."""
        ...

    def info(self) -> dict[str, Any]:
        """Path, counts, settings, and bytes in total and per token, as JSON holds them."""
        ...

    def close(self) -> None:
        """Release memory, mapped files and GPUs; the index cannot be used afterwards."""
        ...


class TextIndex(Protocol):
    """Documents that are searched by the words of a query; no model takes part.

    It keeps the laws above, with texts in place of embeddings, and but for one: a document that shares
    no word with a query is no result of it.
    """

    @property
    def n_docs(self) -> int:
        """Number of documents that a search can return."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, doc_id: object) -> bool: ...

    def search(self, query: str, k: int = 10) -> Results[ScoredDoc]:
        """The best ``k`` documents for one query, best first."""
        ...

    def search_batch(
        self, queries: Iterable[str], k: int = 10, *, progress: Progress | bool | None = None
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query, in the order of the queries."""
        ...

    def info(self) -> dict[str, Any]:
        """Path, counts, settings, and bytes, as JSON holds them."""
        ...

    def close(self) -> None:
        """Release memory and mapped files; the index cannot be used afterwards."""
        ...


def closed_error() -> InputError:
    """The error of using an index after ``close``."""
    return InputError("the index is closed; open it again")
