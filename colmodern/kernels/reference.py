"""Search in plain NumPy: the specification that every faster kernel must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.kernels.types import NearTokens, ResidualQuery, TableQuery

Floats = npt.NDArray[np.floating]
Offsets = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


def maxsim(query: Floats, document: Floats) -> float:
    """Sum, over query tokens, of the best similarity to any document token.

    query: (n_query_tokens, dim) unit rows
    document: (n_doc_tokens, dim) unit rows; 0 tokens scores 0.0

    Accumulates in float32. Source: ColBERT, https://arxiv.org/abs/2004.12832, section 3.3.
    """
    if len(query) == 0 or len(document) == 0:
        return 0.0
    similarities = query.astype(np.float32) @ document.astype(np.float32).T
    return float(similarities.max(axis=1).sum())


def maxsim_scores(
    query_values: Floats, query_offsets: Offsets, doc_values: Floats, doc_offsets: Offsets
) -> npt.NDArray[np.float32]:
    """MaxSim of every query with every document.

    query_values: (n_query_tokens, dim), query_offsets: (n_queries + 1,)
    doc_values: (n_doc_tokens, dim), doc_offsets: (n_docs + 1,)

    Returns (n_queries, n_docs) float32.
    """
    scores = np.zeros((len(query_offsets) - 1, len(doc_offsets) - 1), np.float32)
    for i in range(scores.shape[0]):
        query = query_values[query_offsets[i] : query_offsets[i + 1]]
        for j in range(scores.shape[1]):
            document = doc_values[doc_offsets[j] : doc_offsets[j + 1]]
            scores[i, j] = maxsim(query, document)
    return scores


# The rest is arithmetic of integers: kernels must return the same ones. Names, arguments and
# shapes are those of cpu.py and final.py, which describe them.


def score_centroids(
    centroids: Array,
    centroid_sums: Array,
    centroid_scales: Array,
    query_bytes: Array,
    lane_scales: Array,
    mask: int,
    start: int,
    stop: int,
    scores: Array,
    maxima: Array,
) -> None:
    """Similarity of centroids start to stop to a block's lanes, and its maximum by chunk of 64."""
    queries = query_bytes.transpose(1, 0, 2).reshape(len(lane_scales), -1).astype(np.int64)
    products = centroids[start:stop].astype(np.int64) @ queries.T
    totals = (products - centroid_sums[start:stop, None]).astype(np.float32)
    units = totals * centroid_scales[start:stop, None] * lane_scales  # rounded after each product
    scores[start:stop] = _to_int16(np.rint(units))
    for first in range(start, stop, 64):
        maxima[first // 64] = scores[first : min(first + 64, stop)].max(axis=0)


def find_probes(scores: Array, maxima: Array, mask: np.unsignedinteger, probes: Array) -> None:
    """The best centroids of each lane, best first, ties to the smaller one."""
    for lane in range(int(mask).bit_count()):
        order = sorted(range(len(scores)), key=lambda c: (-int(scores[c, lane]), c))
        probes[lane] = order[: probes.shape[1]]


def gather(
    probes: Array, scores: Array, list_offsets: Array, list_docs: Array, state: Array
) -> None:
    """Sum over query tokens of each document's best probed centroid, above the token's last one."""
    for token, centroids in enumerate(probes):
        block, lane = divmod(token, scores.shape[2])
        of_centroid = scores[block, :, lane].astype(int)
        floor = of_centroid[centroids[-1]]
        best: dict[int, int] = {}
        for centroid in centroids:
            for doc in list_docs[list_offsets[centroid] : list_offsets[centroid + 1]].tolist():
                best[doc] = max(best.get(doc, floor), of_centroid[centroid])
        for doc, score in best.items():
            if state[doc] != 65535:
                total = (state[doc] >> 16) + score - floor
                state[doc] = total * 65536 + token + 1


def collect(state: Array, rows: Array, sums: Array) -> int:
    """Documents that gather found, ascending, and their sums; returns how many."""
    found = [doc for doc in range(len(state)) if state[doc] % 65536 not in (0, 65535)]
    rows[: len(found)], sums[: len(found)] = found, state[found] // 65536
    return len(found)


def keep_best(scores: Array, n: int) -> Array:
    """Positions, ascending, of scores that are at least the n-th largest; n is at least 1."""
    if n >= len(scores):
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.sort(scores)[len(scores) - n])


def score_doc_vectors(
    docs: Array, doc_gains: Array, doc_vectors: Array, table: Array, factors: Array, out: Array
) -> None:
    """What the vector of each document adds to its score, in units; sums of entries are exact."""
    entries = table[np.arange(len(table)), doc_vectors[docs]]  # (n, n_doc_bytes)
    sums = entries.sum(axis=1, dtype=np.int32).astype(np.float32)
    out[:] = np.rint(sums * factors[doc_gains[docs]]).astype(np.int32)


def score_by_centroids(
    docs: Array,
    doc_offsets: Array,
    codes: Array,
    centroid_scores: Array,
    lanes: Array,
    empty: int,
    out: Array,
) -> None:
    """MaxSim with every token replaced by its centroid; also lanes without a query token count."""
    for i, doc in enumerate(docs):
        tokens = codes[doc_offsets[doc] : doc_offsets[doc + 1]]
        blocks = centroid_scores[:, tokens].astype(np.int32)  # (n_blocks, n_doc_tokens, n_lanes)
        out[i] = blocks.max(axis=1).sum() if len(tokens) else empty


def score_compressed(
    docs: Array,
    doc_offsets: Array,
    codes: Array,
    gains: Array,
    residuals: Array,
    centroid_scores: Array,
    lanes: Array,
    query: ResidualQuery,
    slack: Array,
    empty: int,
    margin: int,
    near: NearTokens,
    out: Array,
) -> None:
    """MaxSim with the compressed tokens, of those that could win going by slack; which are near."""
    for i, doc in enumerate(docs):
        start, stop = int(doc_offsets[doc]), int(doc_offsets[doc + 1])
        score = 0 if stop > start else empty
        for block, (rows, filled) in enumerate(zip(centroid_scores, lanes, strict=True)):
            tokens = choose_tokens(start, stop, codes, gains, rows, filled, slack)
            found = similarities(tokens, rows, query, block, codes, gains, residuals)
            best = found.max(axis=0, initial=-32_768)
            score += best.sum() if tokens else 0
            within = found >= np.maximum(best - margin, -32_768)
            bits = (within & is_filled(filled, len(best))) @ (1 << np.arange(len(best)))
            listed = np.flatnonzero(bits)
            first = near.starts[i] + block * (stop - start)
            near.tokens[first : first + len(listed)] = np.array(tokens, int)[listed]
            near.lanes[first : first + len(listed)] = bits[listed]
            near.counts[i, block], near.best[i, block] = len(listed), best
        out[i] = score


def choose_tokens(
    start: int, stop: int, codes: Array, gains: Array, rows: Array, mask: int, slack: Array
) -> list[int]:
    """Tokens of a document whose centroid plus slack reaches, in some lane, its best centroid."""
    of_tokens = rows[codes[start:stop]].astype(np.int64)  # (n_doc_tokens, n_lanes)
    most = np.minimum(of_tokens + slack[gains[start:stop], None], 32_767)
    reaches = (most >= of_tokens.max(axis=0, initial=-32_768)) & is_filled(mask, rows.shape[1])
    return [start + int(i) for i in np.flatnonzero(reaches.any(axis=1))]


def choose_more_tokens(
    start: int,
    stop: int,
    codes: Array,
    gains: Array,
    rows: Array,
    mask: int,
    slack: Array,
    more_slack: Array,
) -> list[int]:
    """Tokens that more slack lets through."""
    chosen = choose_tokens(start, stop, codes, gains, rows, mask, slack)
    more = choose_tokens(start, stop, codes, gains, rows, mask, more_slack)
    return [token for token in more if token not in chosen]


def similarities(
    tokens: list[int],
    rows: Array,
    query: ResidualQuery,
    block: int,
    codes: Array,
    gains: Array,
    residuals: Array,
) -> Array:
    """(len(tokens), n_lanes) int64 similarities to one block of lanes: centroid plus residual."""
    of_residuals = _by_table if isinstance(query, TableQuery) else _by_weights
    scaled = of_residuals(query, block, residuals[tokens], gains[tokens])
    return _to_int16(rows[codes[tokens]] + scaled).astype(np.int64)


def _by_table(query: Any, block: int, residuals: Array, gains: Array) -> Array:
    """Sums of table entries; a sum, shifted left, fits int16."""
    table = query.tables[block]
    entries = table[np.arange(len(table)), residuals]  # (n_tokens, n_bytes, n_lanes)
    sums = entries.sum(axis=1, dtype=np.int64) << int(query.shift)
    scaled: Array = sums * query.factors[gains, None] >> 16  # towards minus infinity
    return scaled


def _by_weights(query: Any, block: int, residuals: Array, gains: Array) -> Array:
    """Products of the query with the weights that each four bits name."""
    words = residuals.reshape(len(residuals), residuals.shape[1] // 4, 4)  # of eight dimensions
    codes = np.stack([words & 15, words >> 4], axis=2).reshape(len(words), 2 * residuals.shape[1])
    weights = query.weights[codes].astype(np.int64) - 128  # (n_tokens, dim)
    lanes = query.dims[block].astype(np.int64).transpose(1, 0, 2)  # (n_lanes, dim / 4, 4)
    products = weights @ lanes.reshape(len(lanes), -1).T
    units = np.rint(products.astype(np.float32) * query.factors[gains, None])
    return _to_int16(units).astype(np.int64)


def is_filled(mask: int, n_lanes: int) -> Array:
    """(n_lanes,) bool, the lanes that hold a query token."""
    return (int(mask) >> np.arange(n_lanes) & 1).astype(bool)


def fill_tables(codebook: Array, queries: Array, mask: int, scale: float, tables: Array) -> Array:
    """Products of a block's lanes with every codebook entry, times scale, as int8.

    With scale 0 it returns the largest magnitude in each lane and writes nothing.
    """
    n_bytes, _, width = codebook.shape
    n_lanes = queries.shape[1]
    products = np.zeros((n_bytes, 256, n_lanes), np.float32)
    for j in range(width):
        of_part = queries.reshape(n_bytes, width, n_lanes)[:, j]
        products = fused(codebook[:, :, j, None], of_part[:, None], products)
    if scale == 0:
        most: Array = np.abs(products).max(axis=(0, 1))
        return most
    tables[:] = np.rint(products * np.float32(scale)).astype(np.int8)
    return np.zeros(n_lanes, np.float32)


def fill_doc_tables(codebook: Array, summed: Array, products: Array, table: Array) -> float:
    """Products of a vector with every codebook entry, and the same in steps of int16."""
    parts = summed.reshape(len(codebook), -1, 1)
    products[:] = (codebook @ parts)[..., 0]
    step = max(float(np.abs(products).max()), 1e-12) / 32_767
    table[:] = np.rint(products / np.float32(step)).astype(np.int16)
    return step


def fused(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float32, rounded once."""
    product = a.astype(np.float64) * b  # exact: float64 has more than twice the bits
    total = product + c
    rest = total - product
    error = (product - (total - rest)) + (c - rest)
    # where float64 cut something off, an odd last bit keeps the next rounding from seeing a tie
    is_even = (total.view(np.int64) & 1) == 0
    nudged = np.nextafter(total, np.copysign(np.inf, error))
    return np.where((error != 0) & is_even, nudged, total).astype(np.float32)


def _to_int16(values: Array) -> Array:
    """int16, staying at its ends."""
    return np.clip(values, -32_768, 32_767).astype(np.int16)
