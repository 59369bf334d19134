"""Checks of queries, fingerprints and scores at the border of a PLAID index."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.inputs import query_values
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

Floats = npt.NDArray[np.float32]


def checked_query(query: object, dim: int) -> Floats:
    """A query as (n_query_tokens, dim) float32; a row of zeros where it has no tokens.

    MaxSim without query tokens is 0 for all documents, as with one token of zeros.

    Raises InputError as ``query_values`` does.
    """
    values = query_values(query, dim)
    return values if len(values) else np.zeros((1, dim), np.float32)


def expect_encoder(fingerprint: str | None, own: str | None) -> None:
    """Raise InputError when both fingerprints are known and differ."""
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise InputError(
            f"fingerprint={shown(fingerprint)}; pass Encoder.fingerprint's text, or None"
        )
    if fingerprint is not None and own is not None and fingerprint != own:
        raise InputError(
            f"fingerprint={fingerprint[:12]} is not the index's {own[:12]}: it was built with "
            "another encoder or other encoder settings, often another document_length; encode with the "
            "same (`colmodern encode --set document_length=...`), or build again"
        )


def expect_encoder_of(queries: TokenEmbeddings | EmbeddingStore, own: str | None) -> None:
    """Raise InputError for a store of documents that another encoder made, as queries.

    Stored queries have a fingerprint of their own, of the settings for queries.
    """
    if isinstance(queries, EmbeddingStore) and queries.manifest.get("role") != "query":
        expect_encoder(queries.fingerprint, own)


def unusable_score(name: str, doc_id: str) -> str:
    """The message about a document whose score is not a finite number; name: of its embeddings."""
    return (
        f"{name} has embeddings of document {doc_id!r} that are not finite or too large to be "
        "scored; encode it again"
    )
