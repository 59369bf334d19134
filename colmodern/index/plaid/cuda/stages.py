"""The life of a query on a GPU: scan all codes, refine the best, score the last in float32.

No inverted lists: reading every document's codes takes a GPU less time than probing would.
Nothing waits: what one stage keeps goes to the next on the GPU, and the host sees only the end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from colmodern.index.plaid.cuda.stored import StoredTokens
from colmodern.index.plaid.cuda.upload import DeviceDocuments
from colmodern.kernels.cuda.compressed import (
    centroid_table,
    scan_codes,
    score_decoded,
    score_tokens,
    table_to_bytes,
)
from colmodern.kernels.cuda.exact import score_documents


class Plan(NamedTuple):
    """How many documents each stage hands on; both at most the documents that are searched."""

    n_candidates: int
    n_scored: int


class _PreparedQueries(NamedTuple):
    """A batch of queries with what the corpus adds to their scores.

    queries: (n, n_lanes, dim) float32; near: the same with the longest token of length 1
    constants: (n,) what the corpus mean adds to a score; near_constants: in the units of near
    units: (n,) unit of a score made with near
    terms: (n, n_docs) what a document's own vector adds
    """

    queries: torch.Tensor
    near: torch.Tensor
    constants: torch.Tensor
    near_constants: torch.Tensor
    units: torch.Tensor
    terms: torch.Tensor


def find(
    corpus: DeviceDocuments,
    queries: torch.Tensor,
    docs: torch.Tensor | None,
    plan: Plan,
    stored: StoredTokens | None = None,
) -> torch.Tensor:
    """The n_scored best documents of each query, in no order.

    Args:
        corpus: The documents.
        queries: (n, n_lanes, dim) float32 on the GPU.
        docs: (n_open,) int32 documents that may be returned; None for all.
        plan: How many documents each stage keeps.
        stored: Embeddings that the last documents are scored with, in place of decoded tokens.

    Returns:
        (n, 2, n_scored) int32: documents, and the bits of their float32 scores.
    """
    prepared = _prepare(corpus, queries)
    n_open = corpus.n_docs if docs is None else len(docs)
    kept = docs
    table = None
    if plan.n_scored < n_open:
        table, lows, highs = centroid_table(prepared.near, corpus.centroids, corpus.near_scales)
        if plan.n_candidates < n_open:
            as_bytes = table_to_bytes(table, lows, highs, queries.shape[1])
            scores = scan_codes(
                docs, corpus.distinct, as_bytes, prepared.near_constants, queries.shape[1]
            )
            scores = _with_terms(scores, prepared, docs, prepared.units)
            kept = _best(scores, docs, plan.n_candidates)
    if table is not None and plan.n_scored < plan.n_candidates:
        scores = score_tokens(
            prepared.near,
            kept,
            corpus.tokens,
            table,
            corpus.near_codebook,
            corpus.near_gain_step,
            prepared.near_constants,
        )
        kept = _best(_with_terms(scores, prepared, kept, prepared.units), kept, plan.n_scored)
    if stored is not None:
        scores = score_documents(queries, kept, stored.values, stored.offsets)
    else:
        scores = score_decoded(
            queries,
            kept,
            corpus.tokens,
            corpus.centroids,
            corpus.scales,
            corpus.codebook,
            corpus.gain_step,
            prepared.constants,
        )
        scores = _with_terms(scores, prepared, kept, None)
    if kept is None:
        kept = torch.arange(corpus.n_docs, dtype=torch.int32, device=queries.device)
    return torch.stack([kept.expand(scores.shape), scores.view(torch.int32)], dim=1)


def _prepare(corpus: DeviceDocuments, queries: torch.Tensor) -> _PreparedQueries:
    units = queries.norm(dim=2).amax(dim=1).clamp_min(1e-12)
    sums = queries.sum(dim=1)
    constants = sums @ corpus.mean
    terms = sums @ corpus.vectors.T
    near = queries / units[:, None, None]
    units = units * corpus.longest
    return _PreparedQueries(queries, near, constants, constants / units, units, terms)


def _with_terms(
    scores: torch.Tensor,
    prepared: _PreparedQueries,
    docs: torch.Tensor | None,
    units: torch.Tensor | None,
) -> torch.Tensor:
    """Scores with what the documents' own vectors add, in the units of the scores."""
    terms = prepared.terms
    if docs is not None:
        terms = terms.gather(1, docs.long().expand(scores.shape))
    return scores + (terms if units is None else terms / units[:, None])


def _best(scores: torch.Tensor, docs: torch.Tensor | None, n: int) -> torch.Tensor:
    """(n_queries, n) int32 numbers of the best documents."""
    positions = scores.topk(n, dim=1, sorted=False).indices
    if docs is None:
        return positions.int()
    return docs.expand(scores.shape).gather(1, positions)
