"""One id a document: what callers pass as document ids, checked the same way at every border."""

from __future__ import annotations

from colmodern.arguments import listed
from colmodern.checks import shown, text_fault
from colmodern.errors import InputError

_JOINED = 65536  # ids whose characters are looked at together


def id_list(
    name: str, ids: object, *, is_ordered: bool, cure: str = "pass a list of ids"
) -> list[str]:
    """Document ids as a list of plain strings.

    Args:
        name: Of the argument in messages.
        ids: A list, tuple, array, generator or other iterable of strings.
        cure: What to pass, for messages.
        is_ordered: One id stands for one document, so that a set says nothing.

    Raises:
        InputError: One string, a mapping, an unordered set, or an id that is no string.
    """
    items = listed(name, ids, cure, is_ordered=is_ordered)
    kinds = set(map(type, items))
    if kinds <= {str}:
        return items
    for position, one in enumerate(items):
        if not isinstance(one, str):
            raise InputError(
                f"{name} has ids that are not strings: {name}[{position}] is "
                f"{type(one).__name__} {shown(one)}; pass strings, as str(id)"
            )
    return [str(one) for one in items]


def checked_doc_ids(doc_ids: object, n_docs: int) -> list[str]:
    """One unique id a document, as a list.

    Raises InputError for what id_list refuses, another number of ids than of documents, and an id
    that repeats, is empty, or holds NUL or half a surrogate pair.
    """
    ids = one_id_a_document(doc_ids, n_docs)
    if len(set(ids)) != len(ids):
        first: dict[str, int] = {}
        for position, doc_id in enumerate(ids):
            if (before := first.setdefault(doc_id, position)) != position:
                raise InputError(
                    f"doc_ids has repeated ids: doc_ids[{before}] and doc_ids[{position}] are both "
                    f"{shown(doc_id)}; make ids unique"
                )
    return ids


def one_id_a_document(doc_ids: object, n_docs: int) -> list[str]:
    """As checked_doc_ids, but for ids that repeat: writing them to disk finds those."""
    ids = id_list("doc_ids", doc_ids, is_ordered=True)
    if len(ids) != n_docs:
        raise InputError(
            f"doc_ids has {len(ids)} entries for {n_docs} documents; pass one id a document"
        )
    for start in range(0, len(ids), _JOINED):
        some = ids[start : start + _JOINED]
        if not (all(some) and _is_plain("".join(some))):
            position = next(i for i, one in enumerate(some) if not (one and _is_plain(one)))
            raise InputError(_fault_of_id(ids[start + position], start + position))
    return ids


def _is_plain(text: str) -> bool:
    """Whether a text has neither NUL nor half a surrogate pair."""
    return "\0" not in text and text_fault(text) is None


def _fault_of_id(doc_id: str, position: int) -> str:
    if not doc_id:
        return f"doc_ids[{position}] is empty; give every document an id"
    fault = "holds NUL" if "\0" in doc_id else text_fault(doc_id)
    return f"doc_ids[{position}] is {shown(doc_id)}, which {fault}; mend it"
