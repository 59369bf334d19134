"""Passages, which are pieces of documents: their ids, and results that name them.

The id of a passage is that of its document, a # and its number in it, as "manual#12". A document's own
id may have a # in it: what follows the last one is the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.types import Hit, Span

_MARK = "#"


def passage_id(doc_id: str, number: int) -> str:
    """The id of a passage; number: its place in the document, from 0."""
    return f"{doc_id}{_MARK}{number}"


def passage_ids(doc_ids: Iterable[str], counts: Iterable[int]) -> list[str]:
    """The ids of all passages of documents, one document after another.

    Args:
        doc_ids: (n_docs,) ids of the documents.
        counts: (n_docs,) numbers of their passages.

    Returns:
        (n_passages,) ids such as "manual#0".
    """
    pairs = zip(doc_ids, counts, strict=True)
    return [passage_id(doc_id, number) for doc_id, count in pairs for number in range(count)]


def document_and_number(passage: str) -> tuple[str, int]:
    """The document of a passage, and the passage's number in it.

    Raises:
        InputError: It is not the id of a passage.
    """
    doc_id, mark, number = passage.rpartition(_MARK)
    if not (mark and doc_id and number.isascii() and number.isdigit()):
        raise InputError(
            f"doc_id={shown(passage)} is not the id of a passage, such as 'manual#12'; encode the "
            "documents with encode_passages or `colmodern encode --passages`"
        )
    return doc_id, int(number)


def documents_of(passages: Sequence[str]) -> list[str]:
    """The documents that passages belong to, each once, in the order of their first passages.

    Raises:
        InputError: An id is not that of a passage.
    """
    return list(dict.fromkeys(document_and_number(passage)[0] for passage in passages))


class PassageHit(Hit):
    """A document that was ranked by its passages; it unpacks and compares as a ScoredDoc does.

    Attributes:
        doc_id: Id of the document.
        score: Its score, higher is better: that of its best passage, or the sum of all.
        spans: As in Hit, in the best passage; counted in the whole text.
        passage: Number of the best passage in the document, from 0.
        characters: (start, end) of that passage in the whole text; None where it is not known.
    """

    passage: int = 0
    characters: tuple[int, int] | None = None

    def __new__(
        cls,
        doc_id: str,
        score: float,
        spans: Iterable[Span] = (),
        *,
        passage: int = 0,
        characters: tuple[int, int] | None = None,
    ) -> PassageHit:
        """Make a hit; see the attributes of the class for the arguments."""
        hit: Any = super().__new__(cls, doc_id, score, spans)
        hit.passage, hit.characters = passage, characters
        made: PassageHit = hit
        return made

    @property
    def passage_id(self) -> str:
        """The id that the passage has in its index, as "manual#12"."""
        return passage_id(self.doc_id, self.passage)

    def __repr__(self) -> str:
        more = f"passage={self.passage!r}, characters={self.characters!r}"
        return f"{super().__repr__()[:-1]}, {more})"

    def _replace(self, **fields: Any) -> PassageHit:
        more = {"spans": self.spans, "passage": self.passage, "characters": self.characters}
        return type(self)(**{**self._asdict(), **more, **fields})
