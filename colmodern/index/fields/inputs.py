"""Fields that callers pass beside documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from colmodern.arguments import listed
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.fields.table import FieldTable

_CURE = "pass a list with one mapping for each document, or a mapping from doc_ids to mappings"

# what a caller may pass for the fields of documents
Fields = FieldTable | Iterable[Mapping[str, object]] | Mapping[str, Mapping[str, object]]


def checked_fields(fields: Fields | None, doc_ids: Sequence[str]) -> FieldTable:
    """The fields of documents as columns.

    Args:
        fields: One mapping from names to values for each document, or such mappings by doc_id, in
            which documents may be missing; None where no document has any.
        doc_ids: (n_docs,) the documents.

    Raises:
        InputError: They are not one mapping for each document, a value is none that a field can
            have, or no doc_id is among the documents.
    """
    if fields is None:
        return FieldTable.empty(len(doc_ids))
    if isinstance(fields, Mapping):
        if fields and doc_ids and not any(doc_id in fields for doc_id in doc_ids):
            raise InputError(
                f"fields has {len(fields):,} doc_ids, as {shown(next(iter(fields)))}, and none of "
                f"the documents, as {shown(doc_ids[0])}; {_CURE}"
            )
        nothing: Mapping[str, object] = {}
        return FieldTable.from_records(fields.get(doc_id, nothing) for doc_id in doc_ids)
    if not isinstance(fields, FieldTable):
        fields = FieldTable.from_records(listed("fields", fields, _CURE))
    if fields.n_docs != len(doc_ids):
        raise InputError(
            f"fields has {fields.n_docs} entries for {len(doc_ids)} documents; {_CURE}"
        )
    return fields
