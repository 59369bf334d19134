"""Documents that are in memory already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from colmodern.files import sha256_of_json
from colmodern.types import Document


class MemoryCorpus:
    """A Corpus over a sequence of documents."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self.fingerprint = sha256_of_json(documents)

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents)
