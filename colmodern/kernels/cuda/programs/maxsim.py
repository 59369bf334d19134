"""Exact MaxSim in Triton: ragged documents are read once, and similarities stay in registers.

A program takes consecutive documents and goes through each in blocks of tokens. The last block
reads the last token again instead of what follows it: a token that is there twice changes no
maximum, so nothing is masked. Offsets are int64, for a corpus has more values than int32 counts.
"""

from __future__ import annotations

import triton
import triton.language as tl

# sizes that get no compilation of their own
_SIZES = ["n_listed", "n_queries", "n_blocks", "per_program", "n_tiles"]


@triton.jit(do_not_specialize=_SIZES)
def maxsim_few(
    queries,
    docs,
    doc_values,
    doc_scales,
    doc_offsets,
    out,
    n_listed,
    n_queries,
    n_blocks,
    per_program,
    n_tiles,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    LISTED: tl.constexpr,
    SCALED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Up to 128 query tokens at a time: document tokens are the rows of the matrix unit.

    So each thread keeps a maximum for each of its products, and they meet once a document.

    queries: (n_queries, LANES, DIM), of the dtype that products are made in
    docs: LISTED 1: (n_listed,) rows of documents; 2: (n_queries / n_blocks, n_listed), a query's
    doc_values: (n_tokens, DIM); doc_scales: (n_tokens,) float32 where SCALED
    doc_offsets: (n_docs + 1,) int64; out: (n_queries, n_listed) float32, written
    WIDTH: power of two above DIM; QUERIES: of a program, 1 where LISTED is 2
    """
    tile = tl.program_id(0) % n_tiles
    first = (tl.program_id(0) // n_tiles).to(tl.int64) * per_program
    lanes = tl.arange(0, QUERIES * LANES)
    ks = tl.arange(0, WIDTH)
    query_rows = tile * (QUERIES * LANES) + lanes
    # transposed: (WIDTH, QUERIES * LANES)
    query_values = tl.load(
        queries + query_rows[None, :] * DIM + ks[:, None],
        mask=(ks[:, None] < DIM) & (query_rows[None, :] < n_queries * LANES),
        other=0.0,
    )
    tokens = tl.arange(0, BLOCK)
    for position in range(first, tl.minimum(first + per_program, n_listed)):
        doc = position
        if LISTED == 1:
            doc = tl.load(docs + position).to(tl.int64)
        if LISTED == 2:
            doc = tl.load(docs + (tile // n_blocks).to(tl.int64) * n_listed + position).to(tl.int64)
        start = tl.load(doc_offsets + doc)
        length = (tl.load(doc_offsets + doc + 1) - start).to(tl.int32)
        values = doc_values + start * DIM
        best = tl.full((BLOCK, QUERIES * LANES), float("-inf"), tl.float32)
        for at in range(0, length, BLOCK):
            inside = tl.minimum(at + tokens, length - 1)
            doc_tokens = tl.load(
                values + inside[:, None] * DIM + ks[None, :], mask=ks[None, :] < DIM, other=0.0
            )
            product = tl.dot(
                doc_tokens.to(query_values.dtype), query_values, input_precision=PRECISION
            )
            if SCALED:
                product *= tl.load(doc_scales + start + inside)[:, None]
            best = tl.maximum(best, product)
        scores = tl.sum(tl.reshape(tl.max(best, axis=0), (QUERIES, LANES)), axis=1)
        query = tile * QUERIES + tl.arange(0, QUERIES)
        tl.store(
            out + query.to(tl.int64) * n_listed + position,
            tl.where(length > 0, scores, 0.0),
            mask=query < n_queries,
        )


@triton.jit(do_not_specialize=_SIZES)
def maxsim_many(
    queries,
    docs,
    doc_values,
    doc_scales,
    doc_offsets,
    out,
    n_listed,
    n_queries,
    n_blocks,
    per_program,
    n_tiles,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
    LISTED: tl.constexpr,
    SCALED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The same for many queries: their tokens are the rows of the matrix unit.

    Maxima are taken block by block along a thread's own columns. Programs of one run of documents
    are neighbours, so that the documents come from the cache for all queries but the first.
    """
    tile = tl.program_id(0) % n_tiles
    first = (tl.program_id(0) // n_tiles).to(tl.int64) * per_program
    ks = tl.arange(0, WIDTH)
    query_rows = tile * (QUERIES * LANES) + tl.arange(0, QUERIES * LANES)
    query_values = tl.load(
        queries + query_rows[:, None] * DIM + ks[None, :],
        mask=(ks[None, :] < DIM) & (query_rows[:, None] < n_queries * LANES),
        other=0.0,
    )
    tokens = tl.arange(0, BLOCK)
    for position in range(first, tl.minimum(first + per_program, n_listed)):
        doc = position
        if LISTED == 1:
            doc = tl.load(docs + position).to(tl.int64)
        start = tl.load(doc_offsets + doc)
        length = (tl.load(doc_offsets + doc + 1) - start).to(tl.int32)
        values = doc_values + start * DIM
        best = tl.full((QUERIES * LANES,), float("-inf"), tl.float32)
        for at in range(0, length, BLOCK):
            inside = tl.minimum(at + tokens, length - 1)
            doc_tokens = tl.load(
                values + inside[:, None] * DIM + ks[None, :], mask=ks[None, :] < DIM, other=0.0
            )
            product = tl.dot(
                query_values, tl.trans(doc_tokens.to(query_values.dtype)), input_precision=PRECISION
            )
            if SCALED:
                product *= tl.load(doc_scales + start + inside)[None, :]
            best = tl.maximum(best, tl.max(product, axis=1))
        scores = tl.sum(tl.reshape(best, (QUERIES, LANES)), axis=1)
        query = tile * QUERIES + tl.arange(0, QUERIES)
        tl.store(
            out + query.to(tl.int64) * n_listed + position,
            tl.where(length > 0, scores, 0.0),
            mask=query < n_queries,
        )
