"""Documents of an exact index with the characters of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from colmodern.errors import InputError
from colmodern.index.inputs import Embeddings
from colmodern.index.spans import LocatedDocument
from colmodern.ragged.store import EmbeddingStore


def locator(
    embeddings: Embeddings, doc_ids: Sequence[str], wanted: set[str]
) -> Callable[[str], LocatedDocument]:
    """A function from an id to its document.

    Args:
        embeddings: The documents of an index.
        doc_ids: (n_docs,) their ids.
        wanted: The ids that will be asked for.

    Raises:
        InputError: The embeddings have no spans.
    """
    if isinstance(embeddings, EmbeddingStore):
        has_spans, cure = embeddings.has_spans, "colmodern encode --spans"
    else:
        has_spans, cure = embeddings.spans is not None, "encode_documents(texts, spans=True)"
    if not has_spans:
        raise InputError(
            f"spans=True, but these embeddings do not keep the characters of their tokens; "
            f"encode the documents again with {cure}"
        )
    numbers = {doc_id: i for i, doc_id in enumerate(doc_ids) if doc_id in wanted}

    def locate(doc_id: str) -> LocatedDocument:
        document = embeddings.select([numbers[doc_id]])
        spans = document.spans
        assert spans is not None  # the check above
        values = np.asarray(document.values, np.float32)
        return LocatedDocument(values, spans[0], spans.rows_of(0))

    return locate
