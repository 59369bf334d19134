"""Token embeddings as centroid, document vector, residual length and residual direction.

A document vector is the mean of what the centroids of its tokens leave over: the subject that
all its tokens share, a quarter to a third of what residuals would have to hold. It takes some
bytes a document, and adds the same to the similarity of all its tokens, so that a search can add
it to a document's score at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.centroids import Centroids, train_centroids
from colmodern.codecs.residuals import Quantizer, ResidualKind, train_quantizer
from colmodern.kernels.encoding import mean_by_document
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
TokenIds = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
CodeDtype = np.dtype[np.uint16] | np.dtype[np.uint32]

# tokens of a document of which one could tell its subject from what they say themselves
_UNSURE_TOKENS = 2
_DOC_BITS = 2  # of a document vector, for each dimension: six percent of it are lost
_MEASURED = 1 << 13  # tokens that the error is measured with
_AT_ONCE = 1 << 11  # sampled tokens of which differences are worked out together, in the cache


def code_dtype(n_centroids: int) -> CodeDtype:
    """The smallest dtype that holds every centroid's number."""
    return np.dtype(np.uint16) if n_centroids <= 1 << 16 else np.dtype(np.uint32)


class Encoded(NamedTuple):
    """Compressed documents.

    codes: (n_tokens,) uint16 or uint32; gains: (n_tokens,) uint8
    residuals: (n_tokens, n_bytes) uint8
    doc_gains: (n_docs,) uint8; doc_vectors: (n_docs, n_doc_bytes) uint8
    """

    codes: npt.NDArray[np.unsignedinteger]
    gains: Bytes
    residuals: Bytes
    doc_gains: Bytes
    doc_vectors: Bytes


class Sample(NamedTuple):
    """What a codec is learnt from: some tokens of some documents.

    values: (n_sampled, dim) float32, document after document; token_ids: (n_sampled,) or None
    sampled: (n_docs,) int64, how many of them each document has, at least one
    lengths: (n_docs,) int64, tokens that it has in all; means: (n_docs, dim) float32 of all those
    """

    values: Floats
    token_ids: TokenIds | None
    sampled: Ints
    lengths: Ints
    means: Floats


@dataclass(frozen=True, eq=False)
class Codec:
    """decoded token = mean + document vector + centroid + residual.

    mean: (dim,) float32 of the corpus; taking it off changes every score of a query by one number
    residuals, documents: what residuals and document vectors are quantised by
    error: mean squared distance of a sampled token from its decoded self
    reach: how far a residual of length 1 moves a similarity to a unit query token, at most, in
        all but one of a thousand sampled pairs
    """

    mean: Floats
    centroids: Centroids
    residuals: Quantizer
    documents: Quantizer
    error: float
    reach: float

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return len(self.mean)

    @property
    def code_dtype(self) -> CodeDtype:
        """The smallest dtype that names every centroid."""
        return code_dtype(len(self.centroids.rows))

    def encode(self, texts: TokenEmbeddings) -> Encoded:
        """Compress documents, each for itself, so that pieces of a corpus do not matter."""
        rest = np.ascontiguousarray(texts.values, np.float32) - self.mean
        doc_of = np.repeat(np.arange(texts.n_docs), texts.lengths)
        means = _doc_means(rest, texts.lengths)
        codes = self._assign(rest, doc_of, means, texts.lengths, texts.token_ids)
        rest -= self.centroids.decode(codes)
        doc_gains, doc_vectors = self.documents.encode(_doc_means(rest, texts.lengths))
        rest -= self.documents.decode(doc_gains, doc_vectors)[doc_of]
        gains, residuals = self.residuals.encode(rest)
        return Encoded(codes.astype(self.code_dtype), gains, residuals, doc_gains, doc_vectors)

    def decode(self, encoded: Encoded, lengths: Ints) -> Floats:
        """(n_tokens, dim) float32 that search scores against; lengths: (n_docs,) tokens."""
        decoded = self.mean + self.centroids.decode(encoded.codes)
        shared = self.documents.decode(encoded.doc_gains, encoded.doc_vectors)
        decoded += np.repeat(shared, lengths, axis=0)
        decoded += self.residuals.decode(encoded.gains, encoded.residuals)
        return np.asarray(decoded, np.float32)

    def _assign(
        self, centred: Floats, doc_of: Ints, means: Floats, lengths: Ints, ids: TokenIds | None
    ) -> Ints:
        """(n_tokens,) centroid of each token, going by how it differs from its document."""
        return self.centroids.assign(centred - _subjects(means, lengths)[doc_of], ids)


def train_codec(
    sample: Sample,
    *,
    n_centroids: int,
    n_fitted: int = 1 << 16,
    nbits: int,
    kind: ResidualKind,
    seed: int,
    progress: Progress,
) -> Codec:
    """Fit a codec to a sample of at least one token, whose values are overwritten.

    n_fitted: tokens, of those, that quantisers are learnt from, at most; bounds memory
    """
    values = sample.values
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    doc_of = np.repeat(np.arange(len(sample.sampled)), sample.sampled)
    subjects = _subjects(sample.means - mean, sample.lengths)
    for start in range(0, len(values), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        values[some] -= mean + subjects[doc_of[some]]
    centroids = train_centroids(values, sample.token_ids, n_centroids, seed=seed, progress=progress)
    fitted = _some_documents(sample.sampled, n_fitted, seed)
    values, doc_of = values[fitted], doc_of[fitted]
    ids = None if sample.token_ids is None else sample.token_ids[fitted]
    rest = values - centroids.decode(centroids.assign(values, ids))
    values += subjects[doc_of]
    rest += subjects[doc_of]
    lengths = np.unique(doc_of, return_counts=True)[1]
    means = _doc_means(rest, lengths)
    documents = train_quantizer(means, _DOC_BITS, "pq", seed=seed)
    rest -= np.repeat(documents.decode(*documents.encode(means)), lengths, axis=0)
    residuals = train_quantizer(rest, nbits, kind, seed=seed)
    reach = float(np.quantile(np.abs(_against_queries(values, rest, mean)), 0.999))
    tried = rest[:: max(1, len(rest) // _MEASURED)]
    lost = residuals.decode(*residuals.encode(tried)) - tried
    error = float(np.square(lost).sum(axis=1).mean())
    return Codec(mean, centroids, residuals, documents, error, reach)


def _doc_means(rows: Floats, lengths: Ints) -> Floats:
    """(n_docs, dim) float32; zero for a document without rows."""
    means = np.empty((len(lengths), rows.shape[1]), np.float32)
    mean_by_document(rows, offsets_of(lengths), means)
    return means


def _subjects(means: Floats, lengths: Ints) -> Floats:
    """Means of documents, less of those of few tokens, whose mean is what these tokens say."""
    return np.asarray(means * (lengths / (lengths + _UNSURE_TOKENS))[:, None], np.float32)


def _some_documents(sampled: Ints, n_fitted: int, seed: int) -> Ints:
    """Ascending rows of the tokens of random documents, at most ``n_fitted``."""
    if sampled.sum() <= n_fitted:
        return np.arange(sampled.sum())
    order = np.random.default_rng(seed + 1).permutation(len(sampled))
    chosen = order[: max(1, int(np.searchsorted(np.cumsum(sampled[order]), n_fitted, "right")))]
    starts, counts = offsets_of(sampled)[:-1][chosen], np.minimum(sampled[chosen], n_fitted)
    rows = np.repeat(starts - offsets_of(counts)[:-1], counts) + np.arange(counts.sum())
    return np.sort(rows)


def _against_queries(values: Floats, residuals: Floats, mean: Floats) -> Floats:
    """Products of unit residuals with tokens that stand for a query's."""
    queries = values[:: max(1, len(values) // 256)] + mean
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    units = residuals[:: max(1, len(residuals) // 4096)]
    units = units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    return np.asarray(units @ queries.T, np.float32)
