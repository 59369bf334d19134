"""The stages of a search of one segment, from probe to score, in NumPy.

``doc_index`` names rows of the segment, ascending. Every function works on a few documents at a
time, so that its memory does not grow with the index.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from colmodern.kernels.portable.query import (
    EntryTables,
    PreparedQuery,
    Weights,
    exact_dtype,
    to_int16,
)
from colmodern.kernels.types import CodecArrays, SampledDocs, SegmentArrays
from colmodern.ragged.offsets import rows_of_texts

DocIndex = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Decode = Callable[[DocIndex, DocIndex], Floats]

_BLOCK_DOCS = 1 << 16  # documents that a uint16 of an inverted list can name
_LOWEST = -32_768
_CHUNK_TOKENS = 1 << 14
_CHUNK_DOCS = 1 << 14


def probe(query: PreparedQuery, nprobe: int) -> npt.NDArray[np.int64]:
    """(n_tokens, nprobe) centroids of each query token, best first, ties to the smaller one, then -1."""
    probed = np.flatnonzero(query.is_probed)
    keys = (-query.centroid_scores[probed].T.astype(np.int64) << 32) + probed
    n = min(nprobe, len(probed))
    probes = np.full((len(keys), nprobe), -1, np.int64)
    probes[:, :n] = np.sort(np.partition(keys, n - 1, axis=1)[:, :n], axis=1) & 0xFFFFFFFF
    return probes


def limit_probes(probes: DocIndex, list_sizes: DocIndex, n_postings: int) -> DocIndex:
    """Probes with -1 for those after ``n_postings`` postings of their query token; its best two stay.

    Args:
        probes: As ``probe`` gives them.
        list_sizes: (n_centroids,) postings of each list.
        n_postings: Postings.
    """
    sizes = list_sizes[np.maximum(probes, 0)]
    before = np.cumsum(sizes, axis=1) - sizes
    is_behind = (before >= n_postings) & (np.arange(probes.shape[1]) >= 2)
    return np.where(is_behind, -1, probes)


def impute_missing(query: PreparedQuery, sample: SampledDocs, probes: DocIndex) -> Ints:
    """(n_tokens,) what a query token counts in a document that none of its probed lists holds.

    Args:
        query: The prepared query.
        sample: Documents that stand for all.
        probes: As ``probe`` or ``limit_probes`` gives them.
    """
    last = np.array([of_token[of_token >= 0][-1] for of_token in probes], np.int64)
    floor = query.centroid_scores[last, np.arange(len(last))].astype(np.int64)
    filled = np.flatnonzero(np.diff(sample.offsets))
    if len(filled) == 0:
        return floor.astype(np.int32)
    starts = sample.offsets[filled]
    best = np.maximum.reduceat(query.probed_scores[sample.codes], starts).astype(np.int64)
    best = np.maximum(best, query.floors)
    missing: Ints = (np.minimum(best, floor).sum(axis=0) // len(filled)).astype(np.int32)
    return missing


def drop_probes(
    query: PreparedQuery, probes: DocIndex, missing: Ints, list_sizes: DocIndex, n_postings: int
) -> DocIndex:
    """Probes with -1 for those of all query tokens that add least; the best two of each stay.

    Args:
        query: The prepared query.
        probes: As ``limit_probes`` gives them.
        missing: As ``impute_missing`` gives it.
        list_sizes: (n_centroids,) postings of each list.
        n_postings: Postings of all query tokens that are enough.
    """
    scores = query.centroid_scores[probes, np.arange(len(probes))[:, None]].astype(np.int64)
    gains = np.where(probes >= 0, scores - missing[:, None], -1)
    order = np.argsort(-gains, axis=None, kind="stable")
    n_left = np.cumsum(np.where(probes >= 0, list_sizes[probes], 0).ravel()[order])
    last = int(np.searchsorted(n_left, n_postings))
    least = max(0, int(gains.ravel()[order[last]])) if last < len(order) else 0
    return np.where((gains < least) & (np.arange(probes.shape[1]) >= 2), -1, probes)


def gather(
    query: PreparedQuery,
    segment: SegmentArrays,
    blocked: npt.NDArray[np.bool_] | None,
    probes: DocIndex,
    missing: Ints,
) -> tuple[DocIndex, Ints]:
    """Documents in the probed lists, and their sums of best probed centroids.

    Args:
        query: The prepared query.
        segment: Arrays of its documents and tokens.
        blocked: (n_docs,) documents to pass over, or None.
        probes: As ``probe`` or ``limit_probes`` gives them.
        missing: As ``impute_missing`` gives it; sums are what a document has above it.
    """
    docs, sums = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for block in range(len(segment.list_offsets)):
        first, last = segment.block_docs[block : block + 2].tolist()
        lists = segment.list_docs[segment.block_starts[block] : segment.block_starts[block + 1]]
        is_listed, total = _gather_block(query, segment.list_offsets[block], lists, probes, missing)
        is_listed[last - first :] = False
        if blocked is not None:
            is_listed[: last - first] &= ~blocked[first:last]
        inside = np.flatnonzero(is_listed)
        docs.append(inside + first)
        sums.append(total[inside])
    return np.concatenate(docs), np.concatenate(sums)


def _gather_block(
    query: PreparedQuery,
    offsets: npt.NDArray[np.uint32],
    lists: npt.NDArray[np.uint16],
    probes: DocIndex,
    missing: Ints,
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Which documents of a block are in a probed list, and every document's sum."""
    is_listed, total = np.zeros(_BLOCK_DOCS, bool), np.zeros(_BLOCK_DOCS, np.int32)
    shift = _shift(query, probes, missing)
    for token, of_token in enumerate(probes):
        centroids = of_token[of_token >= 0]
        scores = query.centroid_scores[centroids, token].astype(np.int32)
        postings = [lists[offsets[c] : offsets[c + 1]] for c in centroids[::-1].tolist()]
        listed = np.concatenate(postings)
        gained = np.zeros(_BLOCK_DOCS, np.int32)
        # for a document in several lists the last assignment counts, which is the best centroid's
        gains = (scores - missing[token]) >> shift << shift
        gained[listed] = np.repeat(gains[::-1], [len(p) for p in postings])
        total += gained
        is_listed[listed] = True
    return is_listed, total


def _shift(query: PreparedQuery, probes: DocIndex, missing: Ints) -> int:
    """Bits that gathered scores lose, so that kernels have room for their largest sum in 31 bits."""
    best = query.centroid_scores[probes[:, 0], np.arange(len(probes))].astype(np.int64)
    largest = int((best - missing).sum())
    return max(0, largest.bit_length() + (len(probes) + 1).bit_length() - 31)


def keep_best(scores: npt.NDArray[np.generic], n: int) -> DocIndex:
    """Positions, ascending, of scores that are at least the n-th largest."""
    if n >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, len(scores) - n)[len(scores) - n]
    return np.flatnonzero(scores >= least)


def score_doc_vectors(
    query: PreparedQuery,
    segment: SegmentArrays,
    docs: DocIndex,
    parts: DocIndex | None = None,
) -> Ints:
    """What the vector of each document adds, in units; parts: the bytes of it that count, or all."""
    counted = range(len(query.doc_table)) if parts is None else parts.tolist()
    out = np.empty(len(docs), np.int32)
    for start in range(0, len(docs), _CHUNK_DOCS):
        chunk = docs[start : start + _CHUNK_DOCS]
        vectors = segment.doc_vectors[chunk]
        sums = np.zeros(len(chunk), np.int32)
        for part in counted:
            sums += query.doc_table[part][vectors[:, part]]
        factors = query.doc_factors[segment.doc_gains[chunk]]
        out[start : start + len(chunk)] = np.rint(sums.astype(np.float32) * factors)
    return out


def score_by_centroids(query: PreparedQuery, segment: SegmentArrays, docs: DocIndex) -> Ints:
    """MaxSim with every token replaced by its centroid, in units."""
    out = np.full(len(docs), query.empty, np.int32)
    for at, tokens, starts in _chunks(segment, docs):
        best = np.maximum.reduceat(query.probed_scores[segment.codes[tokens]], starts)
        out[at] = np.maximum(best, query.floors).sum(axis=1, dtype=np.int32)
    return out


def score_compressed(
    query: PreparedQuery, segment: SegmentArrays, docs: DocIndex, slack: npt.NDArray[np.int32]
) -> Ints:
    """MaxSim with the compressed tokens that slack, by gain, lets through, in units."""
    out = np.full(len(docs), query.empty, np.int32)
    for at, tokens, starts in _chunks(segment, docs):
        out[at] = 0
        for block in query.blocks:
            reaches = _choose(query, segment, block, tokens, starts, slack)
            similar = _similarities(query, segment, block, tokens[reaches])
            tops = np.maximum.reduceat(similar, _starts_of(reaches, starts))
            out[at] += tops.sum(axis=1, dtype=np.int32)
    return out


def score_decoded(
    query: PreparedQuery,
    segment: SegmentArrays,
    docs: DocIndex,
    refine_slack: npt.NDArray[np.int32],
    score_slack: npt.NDArray[np.int32],
    margin: int,
    decode: Decode,
) -> Floats:
    """MaxSim in float32 of the tokens within ``margin`` units of the best.

    Args:
        query: The prepared query.
        segment: Arrays of its documents and tokens.
        docs: Rows of documents; one without tokens scores 0.
        refine_slack: (256,) by gain, as the documents were chosen with.
        score_slack: (256,) by gain, at least refine_slack.
        margin: In units.
        decode: From tokens, and the position in ``docs`` of each, to (n, dim) float32 vectors.
    """
    out = np.zeros(len(docs), np.float32)
    for at, tokens, starts in _chunks(segment, docs):
        lengths = np.diff(np.append(starts, len(tokens)))
        of_doc = np.repeat(np.arange(len(starts)), lengths)
        for block in query.blocks:
            first = _choose(query, segment, block, tokens, starts, refine_slack)
            wider = _choose(query, segment, block, tokens, starts, score_slack)
            seen = first | wider
            similar = np.full((len(tokens), block.stop - block.start), _LOWEST, np.int32)
            similar[seen] = _similarities(query, segment, block, tokens[seen])
            tops = np.maximum.reduceat(np.where(first[:, None], similar, _LOWEST), starts)
            all_tops = np.maximum.reduceat(similar, starts)
            near = first[:, None] & (similar >= _below(tops, margin)[of_doc])
            near |= (wider & ~first)[:, None] & (similar >= _below(all_tops, margin)[of_doc])
            rows = np.flatnonzero(near.any(axis=1))
            values = decode(tokens[rows], at[of_doc[rows]])
            with np.errstate(invalid="ignore", over="ignore"):
                products = values @ query.tokens[block].T
            products[~np.isfinite(products)] = np.nan  # so that no maximum hides it
            products[~near[rows]] = -np.inf
            is_kept = np.zeros(len(tokens), bool)
            is_kept[rows] = True
            best = np.maximum.reduceat(products, _starts_of(is_kept, starts))
            out[at] += np.where(best == -np.inf, 0, best).sum(axis=1, dtype=np.float32)
    return out


def add_doc_vectors(
    query: PreparedQuery, segment: SegmentArrays, docs: DocIndex, gain_step: float, scores: Floats
) -> None:
    """Add to scores what all tokens of a document share; documents without tokens keep theirs."""
    vectors = segment.doc_vectors[docs]
    totals = np.zeros(len(docs), np.float32)
    for part, products in enumerate(query.doc_products):
        totals += products[vectors[:, part]]
    lengths = segment.doc_gains[docs].astype(np.float32) * np.float32(gain_step)
    filled = segment.doc_offsets[docs + 1] > segment.doc_offsets[docs]
    scores[filled] += (lengths * totals + np.float32(query.constant))[filled]


def decode_tokens(codec: CodecArrays, segment: SegmentArrays, tokens: DocIndex) -> Floats:
    """(n, dim) float32 tokens, without what their document and the corpus share."""
    codes, residuals = segment.codes[tokens], segment.residuals[tokens]
    entries = codec.codebook[np.arange(len(codec.codebook)), residuals].reshape(len(tokens), -1)
    lengths = segment.gains[tokens].astype(np.float32) * np.float32(codec.gain_step)
    decoded = codec.centroids[codes].astype(np.float32) * codec.centroid_scales[codes, None]
    return np.asarray(decoded + lengths[:, None] * entries, np.float32)


def read_tokens(
    addresses: npt.NDArray[np.uint64], tokens: DocIndex, dim: int, *, is_half: bool
) -> Floats:
    """(n, dim) float32 tokens from where they are stored.

    Args:
        addresses: (n,) where the embeddings of each token's document begin.
        tokens: (n,) which token of its document each is.
        dim: Values of a token.
        is_half: Whether values are float16; else they are float32.
    """
    dtype = np.dtype(np.float16 if is_half else np.float32)
    rows = np.empty((len(tokens), dim), dtype)
    for row, address, token in zip(rows, addresses.tolist(), tokens.tolist(), strict=True):
        ctypes.memmove(row.ctypes.data, address + token * row.nbytes, row.nbytes)
    return rows.astype(np.float32)


def _chunks(
    segment: SegmentArrays, docs: DocIndex
) -> Iterator[tuple[DocIndex, DocIndex, DocIndex]]:
    """Positions of documents that have tokens, those tokens, and where each document's begin."""
    begins = segment.doc_offsets[docs]
    lengths = segment.doc_offsets[docs + 1] - begins
    filled = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[filled])
    start = 0
    while start < len(filled):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK_TOKENS, side="right")))
        at = filled[start:stop]
        starts = np.cumsum(lengths[at]) - lengths[at]
        yield at, rows_of_texts(begins[at], lengths[at]), starts
        start = stop


def _choose(
    query: PreparedQuery,
    segment: SegmentArrays,
    block: slice,
    tokens: DocIndex,
    starts: DocIndex,
    slack: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:
    """Tokens whose centroid plus slack reaches, for some query token, the document's best centroid."""
    rows = query.centroid_scores[segment.codes[tokens], block]
    bars = np.maximum.reduceat(rows, starts)
    lengths = np.diff(np.append(starts, len(tokens)))
    most = to_int16(rows + slack[segment.gains[tokens], None])
    reaches = most >= np.repeat(bars, lengths, axis=0)
    return np.asarray(reaches.any(axis=1))


def _starts_of(is_kept: npt.NDArray[np.bool_], starts: DocIndex) -> DocIndex:
    """Where each document's tokens begin among the kept ones; every document keeps at least one."""
    before: DocIndex = np.cumsum(is_kept) - is_kept
    return np.asarray(before[starts], np.int64)


def _below(tops: npt.NDArray[np.generic], margin: int) -> npt.NDArray[np.int32]:
    """``margin`` below the best, staying inside int16."""
    return np.maximum(tops.astype(np.int32) - margin, _LOWEST)


def _similarities(
    query: PreparedQuery, segment: SegmentArrays, block: slice, tokens: DocIndex
) -> npt.NDArray[np.int16]:
    """(n, lanes) int16 similarities to a block of query tokens: centroid plus residual."""
    form, gains, residuals = query.residuals, segment.gains[tokens], segment.residuals[tokens]
    of_residuals = (
        _by_entries(form, block, residuals, gains)
        if isinstance(form, EntryTables)
        else _by_weights(form, block, residuals, gains)
    )
    rows = query.centroid_scores[segment.codes[tokens], block]
    return to_int16(rows + of_residuals)


def _by_entries(
    form: EntryTables, block: slice, residuals: npt.NDArray[np.uint8], gains: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    """Sums of table entries."""
    sums = np.zeros((len(residuals), block.stop - block.start), np.int16)
    for part, table in enumerate(form.tables):
        sums += table[residuals[:, part], block]
    shifted = sums.astype(np.int64) << form.shift
    return shifted * form.factors[gains, None] >> 16  # towards minus infinity


def _by_weights(
    form: Weights, block: slice, residuals: npt.NDArray[np.uint8], gains: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int32]:
    """Products with the weights that each four bits name: even dimensions in the low bits."""
    n, n_bytes = residuals.shape
    weights = np.empty((n, n_bytes, 2), exact_dtype(2 * n_bytes))
    weights[:, :, 0], weights[:, :, 1] = form.levels[residuals & 15], form.levels[residuals >> 4]
    products = (weights.reshape(n, -1) @ form.dims[:, block]).astype(np.float32)
    return to_int16(np.rint(products * form.factors[gains, None])).astype(np.int32)
