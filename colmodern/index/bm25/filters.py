"""Filters of a BM25 index, which keeps ids of documents and no fields."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.filters import Mask, allowed_ids, answers, count_unknown
from colmodern.index.plaid.disk.doc_ids import DocIds


def filter_mask(ids: DocIds, n_docs: int, allowed: object) -> Mask:
    """(n_docs,) the documents that a search may return.

    Args:
        ids: The ids of the index.
        n_docs: Number of documents.
        allowed: Ids, or a function of an id.

    Raises:
        InputError: It is neither; it has conditions on fields; or the index has none of the ids.
    """
    if isinstance(allowed, Mapping):
        raise InputError(
            f"filter={shown(allowed)} has conditions, and a BM25 index keeps no fields; pass the ids of "
            "allowed documents, or a function from an id to True or False"
        )
    if callable(allowed):
        return answers(allowed, ids, n_docs)
    wanted = allowed_ids(allowed)
    docs = ids.docs_of(wanted)
    count_unknown(wanted, docs >= 0, is_empty=n_docs == 0)
    mask = np.zeros(n_docs, np.bool_)
    mask[docs[docs >= 0]] = True
    return mask
