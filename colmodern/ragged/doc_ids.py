"""Checks of the document ids that callers pass, the same at every border."""

from __future__ import annotations

from colmodern.arguments import listed
from colmodern.checks import shown, text_fault
from colmodern.errors import InputError

_CHUNK = 65536  # ids whose characters are checked together


def id_list(
    name: str, ids: object, *, is_ordered: bool, cure: str = "pass a list of ids"
) -> list[str]:
    """Document ids as a list of plain strings.

    Args:
        name: Name of the argument, for messages.
        ids: A list, tuple, array, generator or other iterable of strings.
        is_ordered: Whether the order matters, so that a set is refused.
        cure: What to pass instead, for messages.

    Raises:
        InputError: The value is one string, a mapping or a refused set, or an id is not a string.
    """
    items = listed(name, ids, cure, is_ordered=is_ordered)
    kinds = set(map(type, items))
    if kinds <= {str}:
        return items
    for position, item in enumerate(items):
        if not isinstance(item, str):
            raise InputError(
                f"{name} has ids that are not strings: {name}[{position}] is "
                f"{type(item).__name__} {shown(item)}; pass strings, as str(id)"
            )
    return [str(item) for item in items]


def checked_doc_ids(doc_ids: object, n_docs: int, *, is_unique: bool = True) -> list[str]:
    """A list with one id for each document.

    Args:
        doc_ids: What the caller passed.
        n_docs: Number of documents.
        is_unique: Whether to refuse ids that repeat; writing ids to disk refuses them too.

    Raises:
        InputError: ``id_list`` refuses the value, the number of ids differs from that of documents,
            or an id repeats, is empty, or holds NUL or half a surrogate pair.
    """
    ids = _one_id_per_document(doc_ids, n_docs)
    if is_unique and len(set(ids)) != len(ids):
        first: dict[str, int] = {}
        for position, doc_id in enumerate(ids):
            if (before := first.setdefault(doc_id, position)) != position:
                raise InputError(
                    f"doc_ids has repeated ids: doc_ids[{before}] and doc_ids[{position}] are both "
                    f"{shown(doc_id)}; make ids unique"
                )
    return ids


def _one_id_per_document(doc_ids: object, n_docs: int) -> list[str]:
    ids = id_list("doc_ids", doc_ids, is_ordered=True)
    if len(ids) != n_docs:
        raise InputError(
            f"doc_ids has {len(ids)} entries for {n_docs} documents; pass one id per document"
        )
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        if not (all(chunk) and _is_plain("".join(chunk))):
            position = next(i for i, id_ in enumerate(chunk) if not (id_ and _is_plain(id_)))
            raise InputError(_fault_of_id(ids[start + position], start + position))
    return ids


def _is_plain(text: str) -> bool:
    """Whether a text has neither NUL nor half a surrogate pair."""
    return "\0" not in text and text_fault(text) is None


def _fault_of_id(doc_id: str, position: int) -> str:
    if not doc_id:
        return f"doc_ids[{position}] is empty; give every document an id"
    fault = "holds NUL" if "\0" in doc_id else text_fault(doc_id)
    return f"doc_ids[{position}] is {shown(doc_id)}, which {fault}; correct it"
