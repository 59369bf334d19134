"""Documents of a collection: what callers may pass, and how a document is stored as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from colmodern.arguments import listed
from colmodern.checks import shown, text_fault
from colmodern.errors import InputError
from colmodern.types import Document, RankedHit, Scalar, Span

if TYPE_CHECKING:
    from typing_extensions import Self

_CURE = (
    'pass texts, (id, text) pairs, or records such as {"id": "1", "title": "...", "text": "..."}'
)
_IDS = ("id", "_id", "doc_id")  # keys of a record that may hold its id


class SourceError(Exception):
    """A caller's own generator cannot read its documents; no fault of the collection's files.

    Attributes:
        fault: What the generator raised.
    """

    def __init__(self, fault: OSError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class StoredDocument(NamedTuple):
    """A document as a collection keeps it.

    Attributes:
        doc_id: Its id.
        text: Its text.
        title: Its title, empty where it has none.
        fields: The other keys of its record.
    """

    doc_id: str
    text: str
    title: str = ""
    fields: Mapping[str, Any] = {}


# what a caller may pass for one document
DocumentInput = str | tuple[str, str] | Mapping[str, object] | Document | StoredDocument


class EncodedText(NamedTuple):
    """The text that the model reads for a document, and where title and text lie in it.

    Attributes:
        content: Title, separator and text, without white space at either end.
        title_start: Index in ``content`` at which the title begins; negative where its white space
            was cut.
        text_start: The same of the text.
    """

    content: str
    title_start: int
    text_start: int


class CollectionHit(RankedHit):
    """A result of a collection; it unpacks as (doc_id, score, rank).

    Attributes:
        doc_id: Id of the document.
        score: Its score, higher is better.
        rank: Its rank, from 1.
        text: The document's text.
        title: Its title, empty where it has none.
        fields: The other keys of its record.
        spans: The passages of ``text`` that matched, in its order.
        title_spans: The same of ``title``.
        group: The value of the field by which hits were grouped; None without, or where it has none.
        passage: Number of the document's best passage, from 0; None where whole documents are ranked.
        characters: (start, end) of that passage in ``text``; None likewise, or where the collection
            keeps no characters.
    """

    text: str = ""
    title: str = ""
    fields: Mapping[str, Any] = {}
    title_spans: tuple[Span, ...] = ()
    group: Scalar | None = None
    passage: int | None = None
    characters: tuple[int, int] | None = None

    def __new__(
        cls,
        doc_id: str,
        score: float,
        rank: int,
        spans: Iterable[Span] = (),
        *,
        text: str = "",
        title: str = "",
        fields: Mapping[str, object] | None = None,
        title_spans: Iterable[Span] = (),
        group: Scalar | None = None,
        passage: int | None = None,
        characters: tuple[int, int] | None = None,
    ) -> Self:
        """Make a hit; the arguments are its attributes."""
        hit = super().__new__(cls, doc_id, score, rank, spans)
        hit.text, hit.title, hit.fields = text, title, fields or {}
        hit.title_spans, hit.group = tuple(title_spans), group
        hit.passage, hit.characters = passage, characters
        return hit

    @property
    def passages(self) -> tuple[str, ...]:
        """The words of ``spans``."""
        return tuple(self.text[span.start : span.end] for span in self.spans)

    def __repr__(self) -> str:
        title = f"title={shown(self.title)}, " if self.title else ""
        group = f"group={shown(self.group)}, " if self.group is not None else ""
        return (
            f"CollectionHit({self.doc_id!r}, score={self.score:.4f}, rank={self.rank}, {group}{title}"
            f"text={shown(self.text)}, passages={shown(list(self.passages))})"
        )

    def _replace(self, **fields: object) -> CollectionHit:
        names = ["spans", "text", "title", "fields", "title_spans", "group"]
        names += ["passage", "characters"]
        more = {name: getattr(self, name) for name in names}
        return type(self)(**{**self._asdict(), **more, **fields})


def documents_of(
    documents: object, ids: Iterable[str] | None, numbers: Iterator[str] | None
) -> Iterator[StoredDocument]:
    """The documents that a caller passed, one after another, each of them checked.

    Args:
        documents: As ``Collection.add`` takes them.
        ids: One id for each text; None where the documents have their own.
        numbers: Ids of texts that have none; None where such texts are refused.

    Raises:
        InputError: A document is none of the kinds, an id repeats, or text cannot be stored. The
            message names the position.
    """
    text_ids = None if ids is None else listed("ids", ids, "pass a list with one id per text")
    seen: dict[str, int] = {}
    position = -1
    for position, item in enumerate(_items(documents)):
        where = f"documents[{position}]"
        if text_ids is not None:
            if not isinstance(item, str):
                raise InputError(f"{where} has an id of its own; leave ids out")
            if position >= len(text_ids):
                raise InputError(
                    f"ids has {len(text_ids)} entries for more texts; pass one id per text"
                )
            item = (text_ids[position], item)
        document = _document(item, where, numbers)
        if (first := seen.setdefault(document.doc_id, position)) != position:
            raise InputError(
                f"documents[{first}] and {where} both have the id {shown(document.doc_id)}; make "
                "ids unique"
            )
        yield document
    if text_ids is not None and len(text_ids) != position + 1:
        raise InputError(
            f"ids has {len(text_ids)} entries for {position + 1} texts; pass one id per text"
        )


def encoded_text(document: StoredDocument, separator: str) -> EncodedText:
    """The text that the model reads for a document, as ``colmodern encode`` joins it."""
    parts = [part for part in (document.title, document.text) if part]
    joined = separator.join(parts)
    n_cut = len(joined) - len(joined.lstrip())
    n_before = len(document.title) + len(separator) if document.title and document.text else 0
    return EncodedText(joined.strip(), -n_cut, n_before - n_cut)


def spans_in(spans: Iterable[Span], start: int, length: int) -> tuple[Span, ...]:
    """The parts of passages that lie in a part of the encoded text, counted from its start.

    A passage that goes on outside of it keeps the share of its score that its characters have.

    Args:
        spans: Passages of the encoded text.
        start: Where the part begins.
        length: Its number of characters.
    """
    inside = []
    for span in spans:
        first, last = max(span.start, start), min(span.end, start + length)
        if first < last:
            share = (last - first) / (span.end - span.start)
            inside.append(Span(first - start, last - start, span.score * share))
    return tuple(inside)


def to_bytes(document: StoredDocument) -> bytes:
    """A document without its id, as stored."""
    record = [document.text, document.title, dict(document.fields)]
    while not record[-1] and len(record) > 1:
        record.pop()
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def from_bytes(doc_id: str, stored: bytes) -> StoredDocument:
    """The document that ``to_bytes`` stored; raises ValueError for other bytes."""
    record = json.loads(stored)
    if not (isinstance(record, list) and 1 <= len(record) <= 3 and isinstance(record[0], str)):
        raise ValueError("the bytes hold no document")
    return StoredDocument(doc_id, *record)


def _items(documents: object) -> Iterable[object]:
    if isinstance(documents, Mapping):
        return documents.items()
    if isinstance(documents, Iterator):
        return _streamed(documents)
    return listed("documents", documents, _CURE)


def _streamed(documents: Iterator[object]) -> Iterator[object]:
    try:
        yield from documents
    except OSError as error:
        raise SourceError(error) from error


def _document(item: object, where: str, numbers: Iterator[str] | None) -> StoredDocument:
    doc_id: object
    text: object
    title: object = ""
    fields: Mapping[Any, object] = {}  # a caller's keys may be of any type
    if isinstance(item, StoredDocument):
        doc_id, text, title, fields = item.doc_id, item.text, item.title, dict(item.fields)
    elif isinstance(item, Document):
        doc_id, text, title = item
    elif isinstance(item, Mapping):
        doc_id, text, title, fields = _of_record(item, where, numbers)
    elif isinstance(item, str):
        doc_id, text = _next_id(where, numbers), item
    elif isinstance(item, tuple | list) and len(item) == 2:
        doc_id, text = item
    else:
        raise InputError(f"{where} is {shown(item)}; {_CURE}")
    return StoredDocument(
        checked_id(doc_id, f"the id of {where}"),
        _checked_text(text, f"the text of {where}"),
        _checked_text(title, f"the title of {where}"),
        _checked_fields(fields, where),
    )


def _of_record(
    record: Mapping[object, object], where: str, numbers: Iterator[str] | None
) -> tuple[object, object, object, dict[object, object]]:
    """Id, text, title and the other keys of a record."""
    if "text" not in record:
        raise InputError(f"{where} has no key 'text', only {shown(list(record))}; {_CURE}")
    key = next((key for key in _IDS if record.get(key) is not None), None)
    doc_id = record[key] if key is not None else _next_id(where, numbers)
    if isinstance(doc_id, int) and not isinstance(doc_id, bool):
        doc_id = str(doc_id)
    title = record.get("title")
    taken = {"text", "title", *_IDS}
    rest = {name: value for name, value in record.items() if name not in taken}
    return doc_id, record["text"], "" if title is None else title, rest


def _next_id(where: str, numbers: Iterator[str] | None) -> str:
    if numbers is None:
        raise InputError(f"{where} has no id; {_CURE}, each with the id of the document to replace")
    return next(numbers)


def checked_id(doc_id: object, where: str) -> str:
    """The id as plain text; raises InputError for one that no document can have."""
    if not isinstance(doc_id, str):
        raise InputError(f"{where} is {shown(doc_id)}; ids are text, so pass str(id)")
    if not doc_id:
        raise InputError(f"{where} is empty; give every document an id")
    if fault := "holds NUL" if "\0" in doc_id else text_fault(doc_id):
        raise InputError(f"{where} is {shown(doc_id)}, which {fault}; correct it")
    return str(doc_id)


def _checked_text(text: object, where: str) -> str:
    if not isinstance(text, str):
        raise InputError(f"{where} is {shown(text)}; pass text")
    if fault := text_fault(text):
        raise InputError(f"{where} {fault}; decode it with errors='replace' where it is read")
    return str(text)


def _checked_fields(fields: Mapping[object, object], where: str) -> dict[str, object]:
    if not fields:
        return {}
    for name in fields:
        if not isinstance(name, str):
            raise InputError(f"{where} has the key {shown(name)}; keys of records are text")
    try:
        stored = json.dumps(fields, ensure_ascii=False, allow_nan=False)
        stored.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where} has a field that JSON cannot hold ({error}); pass text, numbers, lists and "
            "mappings of them"
        ) from error
    plain: dict[str, object] = json.loads(stored)
    return plain
