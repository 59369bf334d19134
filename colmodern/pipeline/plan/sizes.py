"""Bytes on disk of embeddings and of an index; a test holds them against real ones."""

from __future__ import annotations

from colmodern.codecs.codec import code_dtype
from colmodern.index.plaid.write.settings import automatic_n_centroids

_TOKEN_ID = 4
_OF_DOC = 8  # an offset
_OF_ID = 8 + 8 + 4  # offset, hash and row, beside the id itself
_GAIN = 1  # length of a residual or of a document vector
_POSTING = 2  # a document in a list; at most one for each token
_OF_CENTROID = 4 + 4  # scale, and where its list begins
_OF_DIM = 2 * 256 * 4 + 4  # codebooks of residuals and of document vectors, and mean
_DOC_VECTOR = 1 / 4  # byte of a dimension: two bits
_VOCABULARY = 4  # cell of a vocabulary id


def embedding_bytes(tokens: float, n_docs: int, *, dim: int, item: int, id_bytes: float) -> float:
    """Bytes of stored embeddings; item: bytes of a value, id_bytes: mean bytes of a document's id."""
    return tokens * (dim * item + _TOKEN_ID) + n_docs * (_OF_DOC + id_bytes + 4)


def index_bytes(
    tokens: float,
    n_docs: int,
    *,
    dim: int,
    nbits: int,
    id_bytes: float,
    n_centroids: int | None,
    vocabulary: int,
) -> float:
    """Bytes of a compressed index; n_centroids: None where the index chooses it."""
    centroids = n_centroids or automatic_n_centroids(max(1, int(tokens)))
    a_token = code_dtype(centroids).itemsize + _GAIN + dim * nbits / 8 + _POSTING
    codec = centroids * (dim + _OF_CENTROID) + dim * _OF_DIM + vocabulary * _VOCABULARY
    a_document = _OF_DOC + _OF_ID + id_bytes + _GAIN + dim * _DOC_VECTOR
    return tokens * a_token + codec + n_docs * a_document
