"""Token embeddings as centroid, document vector, residual length and residual direction.

A document vector is the mean of what the centroids of its tokens leave over: the subject that
all its tokens share, a quarter to a third of what residuals would have to hold. It takes some
bytes a document, and adds the same to the similarity of all its tokens, so that a search can add
it to a document's score at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.centroids import CentredTokens, Centroids, train_centroids
from colmodern.codecs.residuals import Quantizer, ResidualKind, train_quantizer
from colmodern.kernels.cpu.encoding import mean_by_document
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of, rows_of_texts

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
TokenIds = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
CodeDtype = np.dtype[np.uint16] | np.dtype[np.uint32]

# a document with this many tokens has half of its mean counted as its subject, a longer one more
_UNSURE_TOKENS = 2
_DOC_BITS = 2  # bits for each dimension of a document vector: six percent of it are lost
_MEASURED = 1 << 13  # tokens that the error is measured with


def code_dtype(n_centroids: int) -> CodeDtype:
    """The smallest dtype that holds every centroid's number."""
    return np.dtype(np.uint16) if n_centroids <= 1 << 16 else np.dtype(np.uint32)


class CompressedDocuments(NamedTuple):
    """Compressed documents.

    Attributes:
        codes: (n_tokens,) uint16 or uint32.
        gains: (n_tokens,) uint8.
        residuals: (n_tokens, n_bytes) uint8.
        doc_gains: (n_docs,) uint8.
        doc_vectors: (n_docs, n_doc_bytes) uint8.
    """

    codes: npt.NDArray[np.unsignedinteger]
    gains: Bytes
    residuals: Bytes
    doc_gains: Bytes
    doc_vectors: Bytes


class Sample(NamedTuple):
    """Tokens of some documents, from which a codec is learnt.

    Attributes:
        values: (n_sampled, dim) floats, document after document; may be a mapped file.
        token_ids: (n_sampled,) int32, or None.
        sampled: (n_docs,) int64, sampled tokens of each document, at least one.
        lengths: (n_docs,) int64, all tokens of each document.
        means: (n_docs, dim) float32, means of all tokens of each document.
    """

    values: npt.NDArray[np.floating]
    token_ids: TokenIds | None
    sampled: Ints
    lengths: Ints
    means: Floats


@dataclass(frozen=True, eq=False)
class Codec:
    """decoded token = mean + document vector + centroid + residual.

    Attributes:
        mean: (dim,) float32, mean of the corpus; without it every score of a query changes by the
            same number.
        centroids: Centroids of tokens.
        residuals: Quantizer of residuals.
        documents: Quantizer of document vectors.
        error: Mean squared distance of a sampled token from its decoded self.
        reach: How far a residual of length 1 moves a similarity to a unit query token, at most, in
            all but one of a thousand sampled pairs.
    """

    mean: Floats
    centroids: Centroids
    residuals: Quantizer
    documents: Quantizer
    error: float
    reach: float

    batch_tokens: ClassVar[int] = 8192  # tokens that a thread should encode at a time

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return len(self.mean)

    @property
    def code_dtype(self) -> CodeDtype:
        """The smallest dtype that names every centroid."""
        return code_dtype(len(self.centroids.values))

    def encode(self, documents: TokenEmbeddings) -> CompressedDocuments:
        """Compress documents, each for itself: how a corpus is cut into chunks does not matter."""
        lengths = documents.lengths
        rest = np.ascontiguousarray(documents.values, np.float32) - self.mean
        doc_of = np.repeat(np.arange(documents.n_docs), lengths)
        means = _doc_means(rest, lengths)
        codes = self._assign(rest, doc_of, means, lengths, documents.token_ids)
        rest -= self.centroids.decode(codes)
        doc_gains, doc_vectors = self.documents.encode(_doc_means(rest, lengths))
        rest -= self.documents.decode(doc_gains, doc_vectors)[doc_of]
        gains, residuals = self.residuals.encode(rest)
        return CompressedDocuments(
            codes.astype(self.code_dtype), gains, residuals, doc_gains, doc_vectors
        )

    def decode(self, encoded: CompressedDocuments, lengths: Ints) -> Floats:
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
    n_clustered: int | None = None,
    nbits: int,
    kind: ResidualKind,
    seed: int,
    progress: Progress,
) -> Codec:
    """Fit a codec to a sample of at least one token.

    Args:
        sample: Tokens to learn from.
        n_centroids: At most so many centroids.
        n_fitted: At most so many sampled tokens are used to learn the quantisers; bounds memory.
        n_clustered: At most so many sampled tokens of a cell are used to learn its centroids; bounds
            memory. None for no bound.
        nbits: Bits for each dimension of a residual: 1, 2, 4 or 8.
        kind: How residuals are quantised.
        seed: Same seed, same codec.
        progress: Shows the clustering of centroids.
    """
    mean = sample.values.mean(axis=0, dtype=np.float64).astype(np.float32)
    doc_of = np.repeat(np.arange(len(sample.sampled), dtype=np.int32), sample.sampled)
    subjects = _subjects(sample.means - mean, sample.lengths)
    centred = CentredTokens(sample.values, mean, subjects, doc_of)
    centroids = train_centroids(
        centred,
        sample.token_ids,
        n_centroids,
        n_clustered=n_clustered,
        seed=seed,
        progress=progress,
    )
    fitted = _tokens_to_fit(sample.sampled, n_fitted, seed)
    values, doc_of = centred[fitted], doc_of[fitted]
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
    measured = rest[:: max(1, len(rest) // _MEASURED)]
    lost = residuals.decode(*residuals.encode(measured)) - measured
    error = float(np.square(lost).sum(axis=1).mean())
    return Codec(mean, centroids, residuals, documents, error, reach)


def _doc_means(values: Floats, lengths: Ints) -> Floats:
    """(n_docs, dim) float32 means of documents' tokens; zero for a document without tokens."""
    means = np.empty((len(lengths), values.shape[1]), np.float32)
    mean_by_document(values, offsets_of(lengths), means)
    return means


def _subjects(means: Floats, lengths: Ints) -> Floats:
    """Means of documents, shortened for few tokens, whose mean says more of them than of a subject."""
    return np.asarray(means * subject_shares(lengths)[:, None], np.float32)


def subject_shares(lengths: Ints) -> npt.NDArray[np.float64]:
    """(n_docs,) share of each document's mean that counts as its subject."""
    return np.asarray(lengths / (lengths + _UNSURE_TOKENS), np.float64)


def _tokens_to_fit(sampled: Ints, n_fitted: int, seed: int) -> Ints:
    """At most ``n_fitted`` ascending indices of sampled tokens, all of random documents."""
    if sampled.sum() <= n_fitted:
        return np.arange(sampled.sum())
    order = np.random.default_rng(seed + 1).permutation(len(sampled))
    docs = order[: max(1, int(np.searchsorted(np.cumsum(sampled[order]), n_fitted, "right")))]
    starts, counts = offsets_of(sampled)[:-1][docs], np.minimum(sampled[docs], n_fitted)
    return np.sort(rows_of_texts(starts, counts))


def _against_queries(values: Floats, residuals: Floats, mean: Floats) -> Floats:
    """Products of unit residuals with sampled tokens in the role of query tokens."""
    queries = values[:: max(1, len(values) // 256)] + mean
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    units = residuals[:: max(1, len(residuals) // 4096)]
    units = units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    return np.asarray(units @ queries.T, np.float32)
