"""Token pooling: similar tokens of a document are clustered and replaced by their mean.

Source: Clavié, Chaffin and Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with
Minimal Performance Impact via Token Pooling", with Ward's clustering of the unit rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from colmodern.kernels.cpu.ward import pool_clusters, ward_labels
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of


def pool_tokens(embeddings: TokenEmbeddings, factor: float, *, protected: int) -> TokenEmbeddings:
    """Pool each document's tokens into ``1 / factor`` of their number.

    Pooled tokens are the unit means of their clusters, in the order of the clusters' first tokens,
    and carry the token id of the member nearest to the mean; spans stay those of the members, with
    the row that each became a part of. Memory grows with a document's tokens,
    not with their pairs.

    Args:
        embeddings: Embeddings of documents.
        factor: Tokens for each pooled one. Their number is rounded down, to at least 1.
        protected: First tokens of each document that are not pooled.

    Returns:
        New float32 embeddings of the same documents.
    """
    lengths = embeddings.lengths
    factor = min(factor, 1 << 53)  # larger ones pool no more, and are no int64
    kept = np.minimum(lengths, protected)
    rest_lengths = lengths - kept
    n_pooled = np.where(rest_lengths > 0, np.maximum(rest_lengths // factor, 1), 0)
    offsets = offsets_of(kept + n_pooled.astype(np.int64))
    values = np.empty((offsets[-1], embeddings.dim), np.float32)
    sources = np.empty(offsets[-1], np.int64)  # row whose token id a pooled row carries
    became = np.empty(embeddings.n_tokens, np.int64)  # pooled row of its text that a row is part of

    def pool(document: int) -> None:
        rows, head = embeddings[document], int(kept[document])
        start, out = int(embeddings.offsets[document]), slice(*offsets[document : document + 2])
        values[out][:head] = rows[:head]
        sources[out][:head] = np.arange(start, start + head)
        became[start : start + head] = np.arange(head)
        if head == len(rows):
            return
        rest = np.ascontiguousarray(rows[head:], dtype=np.float32)
        labels = np.empty(len(rest), np.int64)
        ward_labels(rest, len(values[out]) - head, labels)
        pool_clusters(rest, labels, values[out][head:], sources[out][head:])
        sources[out][head:] += start + head
        became[start + head : start + len(rows)] = labels + head

    # the kernels release the interpreter's lock
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in threads.map(pool, range(embeddings.n_docs)):
            pass
    ids = None if embeddings.token_ids is None else embeddings.token_ids[sources]
    spans = embeddings.spans
    if spans is not None:
        spans = spans.pooled(became, embeddings.offsets)
    return TokenEmbeddings.unchecked(values, offsets, ids, embeddings.fingerprint, spans)
