"""Search in plain NumPy, in integers: kernels must return the same ones.

The modules of ``cpu`` describe arguments and shapes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.kernels.reference.arithmetic import LOWEST, fused, is_filled, to_int16
from colmodern.kernels.reference.probe import is_known
from colmodern.kernels.types import (
    Bytes,
    Floats,
    Int8s,
    Int16s,
    Int32s,
    Int64s,
    Mask,
    NearTokens,
    QueryTables,
    ResidualQuery,
    SampledDocs,
    SegmentArrays,
    StateForm,
    TableQuery,
    WeightQuery,
)


class Tokens(NamedTuple):
    """Compressed tokens.

    Attributes:
        indices: (n,) int64 tokens of the segment.
        codes: (n,) centroid of each.
        gains: (n,) uint8 gain of each.
        residuals: (n, n_bytes) uint8.
    """

    indices: Int64s
    codes: npt.NDArray[np.unsignedinteger]
    gains: Bytes
    residuals: Bytes

    def select(self, is_wanted: npt.NDArray[np.bool_]) -> Tokens:
        """The tokens where ``is_wanted`` is true."""
        return Tokens(
            self.indices[is_wanted],
            self.codes[is_wanted],
            self.gains[is_wanted],
            self.residuals[is_wanted],
        )


def tokens_of(doc: int, segment: SegmentArrays) -> Tokens:
    """All tokens of a document."""
    start, stop = segment.doc_offsets[doc : doc + 2]
    tokens = slice(start, stop)
    return Tokens(
        np.arange(start, stop),
        segment.codes[tokens],
        segment.gains[tokens],
        segment.residuals[tokens],
    )


def limit_probes(probes: Int32s, list_sizes: Int64s, n_postings: int) -> None:
    """Write -1 for probes after ``n_postings`` postings of their query token; its best two stay."""
    for centroids in probes:
        sizes = list_sizes[np.maximum(centroids, 0)]
        before = np.cumsum(sizes) - sizes
        centroids[(before >= n_postings) & (np.arange(len(centroids)) >= 2)] = -1


def impute_missing(
    probes: Int32s, query: QueryTables, sample: SampledDocs, missing: Int32s
) -> None:
    """Mean over sampled documents of each lane's best centroid, at most its last probed one."""
    lengths = np.diff(sample.offsets)
    for token, centroids in enumerate(probes):
        block, lane = divmod(token, query.centroid_scores.shape[2])
        by_centroid = query.centroid_scores[block, :, lane].astype(int)
        floor = by_centroid[centroids[centroids >= 0][-1]]
        docs = [sample.codes[a : a + n] for a, n in zip(sample.offsets, lengths, strict=False) if n]
        least = int(query.floors[block, lane])
        known = [by_centroid[codes[is_known(query, codes)]].max(initial=least) for codes in docs]
        best = [min(floor, score) for score in known]
        missing[token] = sum(best) // len(best) if best else floor


def drop_probes(
    probes: Int32s, scores: Int16s, missing: Int32s, list_sizes: Int64s, n_postings: int
) -> None:
    """Write -1 for probes that add less than the best ones with ``n_postings``; the best two stay."""
    at = [
        (token, j) for token, of_token in enumerate(probes) for j in np.flatnonzero(of_token >= 0)
    ]
    gains, n_lanes, n_left = {}, scores.shape[2], 0
    for token, j in at:
        block, lane = divmod(token, n_lanes)
        gains[token, j] = int(scores[block, probes[token, j], lane]) - int(missing[token])
    least = 0
    for token, j in sorted(at, key=lambda place: -gains[place]):
        n_left += int(list_sizes[probes[token, j]])
        if n_left >= n_postings:
            least = max(0, gains[token, j])
            break
    for token, j in at:
        if j >= 2 and gains[token, j] < least:
            probes[token, j] = -1


def state_form(probes: Int32s, scores: Int16s, missing: Int32s) -> StateForm:
    """Bits for the turns, of which all set ones are none, and a shift that the largest sum needs."""
    largest = 0
    for token, centroids in enumerate(probes):
        block, lane = divmod(token, scores.shape[2])
        largest += int(scores[block, centroids[0], lane]) - int(missing[token])
    turn_bits = (len(probes) + 1).bit_length()
    return StateForm(turn_bits, max(0, largest.bit_length() + turn_bits - 31))


def gather(
    probes: Int32s,
    scores: Int16s,
    missing: Int32s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    form: StateForm,
    state: Int32s,
) -> None:
    """Sum over query tokens of each document's best probed centroid, above what is missing."""
    none = (1 << form.turn_bits) - 1
    for token, centroids in enumerate(probes):
        block, lane = divmod(token, scores.shape[2])
        by_centroid, centroids = scores[block, :, lane].astype(int), centroids[centroids >= 0]
        best: dict[int, int] = {}
        for centroid in centroids:
            for doc in list_docs[list_offsets[centroid] : list_offsets[centroid + 1]].tolist():
                best[doc] = max(best.get(doc, LOWEST), by_centroid[centroid])
        for doc, score in best.items():
            if state[doc] != none:
                total = state[doc] // (none + 1) + ((score - missing[token]) >> form.shift)
                state[doc] = total * (none + 1) + token + 1


def collect(form: StateForm, state: Int32s, docs: Int64s, sums: Int32s) -> int:
    """Documents that gather reached, ascending, and their sums; returns how many."""
    turns = 1 << form.turn_bits
    reached = [doc for doc in range(len(state)) if state[doc] % turns not in (0, turns - 1)]
    docs[: len(reached)], sums[: len(reached)] = reached, state[reached] // turns << form.shift
    return len(reached)


def keep_best(scores: Int32s, n: int) -> Int64s:
    """Positions, ascending, of scores that are at least the n-th largest; n is at least 1."""
    if n >= len(scores):
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.sort(scores)[len(scores) - n])


def score_doc_vectors(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """What the vector of each document adds to its score, in units; sums of entries are exact."""
    table = query.doc_table
    entries = table[np.arange(len(table)), segment.doc_vectors[docs]]  # (n, n_doc_bytes)
    sums = entries.sum(axis=1, dtype=np.int32).astype(np.float32)
    out[:] = np.rint(sums * query.doc_factors[segment.doc_gains[docs]]).astype(np.int32)


def estimate_doc_vectors(
    docs: Int64s, columns: Bytes, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """What some bytes of the vector of each document add to its score, in units."""
    parts = query.doc_parts
    entries = query.doc_table[parts, columns[:, docs].T[:, parts]]
    sums = entries.sum(axis=1, dtype=np.int32).astype(np.float32)
    out[:] = np.rint(sums * query.doc_factors[segment.doc_gains[docs]]).astype(np.int32)


def score_by_centroids(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """MaxSim with every token replaced by its centroid; also lanes without a query token count.

    Centroids that are not known count as the floors say.
    """
    for i, doc in enumerate(docs):
        codes = tokens_of(doc, segment).codes
        # (n_blocks, n_doc_tokens, n_lanes)
        similarities = query.centroid_scores[:, codes[is_known(query, codes)]]
        best = np.maximum(similarities.max(axis=1, initial=LOWEST), query.floors)
        out[i] = best.sum(dtype=np.int32) if len(codes) else query.empty


def score_compressed(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    margin: int,
    near: NearTokens,
    out: Int32s,
) -> None:
    """MaxSim with the compressed tokens that could win going by refine_slack; which are near."""
    for i, doc in enumerate(docs):
        n_tokens = len(tokens_of(doc, segment).codes)
        score = 0 if n_tokens else query.empty
        for block, mask in enumerate(query.lanes):
            tokens = choose_tokens(doc, segment, query, block)
            similar = similarities(tokens, query, block)
            best = similar.max(axis=0, initial=LOWEST)
            score += best.sum() if len(tokens.codes) else 0
            within = similar >= np.maximum(best - margin, LOWEST)
            bits = (within & is_filled(mask, len(best))) @ (1 << np.arange(len(best)))
            listed = np.flatnonzero(bits)
            first = near.starts[i] + block * n_tokens
            near.tokens[first : first + len(listed)] = tokens.indices[listed]
            near.lanes[first : first + len(listed)] = bits[listed]
            near.counts[i, block], near.best[i, block] = len(listed), best
        out[i] = score


def choose_tokens(doc: int, segment: SegmentArrays, query: QueryTables, block: int) -> Tokens:
    """A document's tokens that can win some lane going by refine_slack."""
    tokens = tokens_of(doc, segment)
    return tokens.select(_can_win(tokens, query, block, query.refine_slack))


def choose_more_tokens(doc: int, segment: SegmentArrays, query: QueryTables, block: int) -> Tokens:
    """A document's tokens that score_slack lets through and refine_slack does not."""
    tokens = tokens_of(doc, segment)
    more = _can_win(tokens, query, block, query.score_slack)
    return tokens.select(more & ~_can_win(tokens, query, block, query.refine_slack))


def _can_win(
    tokens: Tokens, query: QueryTables, block: int, slack: Int16s
) -> npt.NDArray[np.bool_]:
    """(n_tokens,) whether a token's centroid plus slack reaches, in some lane, the best centroid."""
    scores, mask = query.centroid_scores[block], query.lanes[block]
    by_token = scores[tokens.codes].astype(np.int64)  # (n_doc_tokens, n_lanes)
    most = np.minimum(by_token + slack[tokens.gains, None], 32_767)
    reaches = most >= by_token.max(axis=0, initial=LOWEST)
    return np.asarray((reaches & is_filled(mask, scores.shape[1])).any(axis=1))


def similarities(tokens: Tokens, query: QueryTables, block: int) -> Int64s:
    """(n_tokens, n_lanes) int64 similarities to one block of lanes: centroid plus residual."""
    scaled = _residual_similarities(tokens, query.residual_query, block)
    return to_int16(query.centroid_scores[block][tokens.codes] + scaled).astype(np.int64)


def _residual_similarities(tokens: Tokens, query: ResidualQuery, block: int) -> Int64s:
    if isinstance(query, TableQuery):
        return _by_table(tokens, query, block)
    return _by_weights(tokens, query, block)


def _by_table(tokens: Tokens, query: TableQuery, block: int) -> Int64s:
    """Sums of table entries; a sum, shifted left, fits int16."""
    table = query.tables[block]
    entries = table[np.arange(len(table)), tokens.residuals]  # (n_tokens, n_bytes, n_lanes)
    sums = entries.sum(axis=1, dtype=np.int64) << int(query.shift)
    scaled: Int64s = sums * query.factors[tokens.gains, None] >> 16  # towards minus infinity
    return scaled


def _by_weights(tokens: Tokens, query: WeightQuery, block: int) -> Int64s:
    """Products of the query with the weights that each four bits name."""
    n_tokens, n_bytes = tokens.residuals.shape
    words = tokens.residuals.reshape(n_tokens, n_bytes // 4, 4)  # each of eight dimensions
    codes = np.stack([words & 15, words >> 4], axis=2).reshape(n_tokens, 2 * n_bytes)
    weights = query.weights[codes].astype(np.int64) - 128  # (n_tokens, dim)
    lanes = query.dims[block].astype(np.int64).transpose(1, 0, 2)  # (n_lanes, dim / 4, 4)
    products = weights @ lanes.reshape(len(lanes), -1).T
    units = np.rint(products.astype(np.float32) * query.factors[tokens.gains, None])
    return to_int16(units).astype(np.int64)


def fill_tables(
    codebook: Floats, queries: Floats, mask: Mask, scale: np.float32, tables: Int8s
) -> Floats:
    """Products of a block's lanes with every codebook entry, times scale, as int8.

    With scale 0 it returns the largest magnitude in each lane and writes nothing.
    """
    n_bytes, _, width = codebook.shape
    n_lanes = queries.shape[1]
    products = np.zeros((n_bytes, 256, n_lanes), np.float32)
    for j in range(width):
        values = queries.reshape(n_bytes, width, n_lanes)[:, j]
        products = fused(codebook[:, :, j, None], values[:, None], products)
    if scale == 0:
        most: Floats = np.abs(products).max(axis=(0, 1))
        return most
    tables[:] = np.rint(products * np.float32(scale)).astype(np.int8)
    return np.zeros(n_lanes, np.float32)


def fill_doc_tables(codebook: Floats, summed: Floats, products: Floats, table: Int16s) -> float:
    """Products of a vector with every codebook entry, and the same in steps of int16."""
    vectors = summed.reshape(len(codebook), 1, -1)
    products[:] = (vectors @ codebook)[:, 0]
    step = max(float(np.abs(products).max()), 1e-12) / 32_767
    table[:] = np.rint(products / np.float32(step)).astype(np.int16)
    return step


def choose_doc_parts(table: Int16s) -> Int64s:
    """An eighth of the bytes, at least four: those whose entries vary most, the first of equal ones."""
    values = table.astype(np.int64)
    spread = 256 * (values**2).sum(axis=1) - values.sum(axis=1) ** 2
    order = np.argsort(-spread, kind="stable")
    return order[: max(min(len(table), 4), len(table) // 8)]
