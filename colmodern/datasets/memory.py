"""A corpus of documents in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from colmodern.checks import id_fault, shown, text_fault
from colmodern.errors import InputError
from colmodern.files import sha256_of_json
from colmodern.types import Document


class MemoryCorpus:
    """A Corpus over a sequence of documents.

    Raises:
        InputError: the id of a document is invalid or there twice, or its text or title cannot be
            stored; names the document's position.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        positions: dict[str, int] = {}
        for position, (doc_id, text, title) in enumerate(documents):
            if fault := id_fault(doc_id):
                raise InputError(f"document {position}: id {shown(doc_id)} {fault}; rename it")
            if doc_id in positions:
                raise InputError(
                    f"document {position}: id {shown(doc_id)} is already that of document "
                    f"{positions[doc_id]}; give every document its own id"
                )
            positions[doc_id] = position
            for name, value in (("text", text), ("title", title)):
                if not isinstance(value, str):
                    raise InputError(
                        f"document {position}: {name} {shown(value)} is not text; give a str"
                    )
                if fault := text_fault(value):
                    raise InputError(f"document {position}: {name} {fault}; fix the text")
        self._documents = documents
        self.fingerprint = sha256_of_json(documents)

    def __repr__(self) -> str:
        return f"MemoryCorpus(n_docs={len(self)})"

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents)
