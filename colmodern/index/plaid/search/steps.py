"""The life of a query inside the index: probe, gather, prune, refine, score.

1 probe    score all centroids, take nprobe of them for each query token
2 gather   add up the probed centroids' scores of each document in their lists
3 prune    score the best gathered documents by the centroids of all their tokens
4 refine   score the best n_candidates with their compressed tokens, in integers
5 score    score the best few of those in float32, decoded or from stored embeddings

What a document's vector adds to a score is computed once, and added to the scores of 2 to 4.

Sources: PLAID, https://arxiv.org/abs/2205.09707 (1 to 4); WARP, https://arxiv.org/abs/2501.17788
(the imputed score of a token that no probed list holds); EMVB, https://arxiv.org/abs/2404.02805
(tokens that cannot win are not decoded).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.search.query_tables import make_tables
from colmodern.index.plaid.search.view import DocIndex, View
from colmodern.kernels.cpu.clusters import score_unknown
from colmodern.kernels.cpu.gather import drop_probes, impute_missing, keep_best
from colmodern.kernels.cpu.prune import (
    estimate_doc_vectors,
    score_by_centroids,
    score_doc_vectors,
)
from colmodern.kernels.cpu.refine import empty_near, keep_near, score_compressed
from colmodern.kernels.cpu.score import add_doc_vectors, score_decoded, score_stored
from colmodern.kernels.cpu.segment import (
    find_candidates,
    gather_block,
    probe,
    search_segment,
)
from colmodern.kernels.types import BY_PARTS, NearTokens, QueryTables, SearchBudget, StoredDocs
from colmodern.threads import Threads
from colmodern.types import Stage

Scores = npt.NDArray[np.int32]

_NONE_BLOCKED = np.zeros(0, np.bool_)
_NO_SIZES = np.zeros(0, np.int64)
_NO_COLUMNS = np.zeros((0, 0), np.uint8)
_ALL_SLACK = np.full(256, 32_767, np.int16)
# in units: no centroid's or residual's part of a similarity is larger, so that no token that
# could have the largest similarity lies further below the best
_ALL_MARGIN = 32_767
# up to so many candidates and tokens, one thread is faster than several that wait for each other
_ALONE_CANDIDATES, _ALONE_TOKENS = 1500, 60_000_000
_FEWEST_DOCS = 8  # documents in a thread's share


@dataclass
class Trace:
    """The documents that reached each stage, and their scores there."""

    stages: dict[Stage, tuple[DocIndex, npt.NDArray[np.number]]] = field(default_factory=dict)

    def keep(self, stage: Stage, doc_index: DocIndex, scores: npt.NDArray[np.number]) -> None:
        """Record the documents of a stage."""
        self.stages[stage] = doc_index, scores


# stored embeddings of documents: doc_index values -> addresses, and is_half
Addresses = Callable[[DocIndex], tuple[npt.NDArray[np.uint64], bool]]


def search_view(
    query: npt.NDArray[np.float32],
    view: View,
    budget: SearchBudget,
    threads: Threads,
    *,
    stored: Addresses | None = None,
    trace: Trace | None = None,
    exact: bool = False,
    added: DocIndex | None = None,
) -> tuple[DocIndex, npt.NDArray[np.float32]]:
    """The n_scored best documents, ascending by doc_index, and their scores.

    query: (n_query_tokens, dim) float32, at least one token
    exact: score all tokens, also those that cannot win according to the codec
    added: documents of the view, ascending, that are pruned with the gathered ones
    """
    in_one_call = trace is None and not exact and added is None
    if in_one_call and fits_one_call(view, budget, threads):
        return _search_at_once(query, view, budget, stored)
    trace = trace or Trace()
    if _is_faster_alone(view, budget, threads):
        threads = Threads(1)
    tables = make_tables(query, view.codec, threads, budget.n_clusters)
    if budget.exhaustive:
        tables = tables._replace(refine_slack=_ALL_SLACK)
    if budget.exhaustive or exact:
        tables = tables._replace(score_slack=_ALL_SLACK)
    margin = tables.rounding if stored is None else tables.loss
    margin = _ALL_MARGIN if exact else margin
    candidates, near = _find_by_steps(tables, view, budget, margin, threads, trace, added)
    final = _score(tables, view, candidates, margin, near, threads, stored)
    trace.keep(Stage.SCORE, candidates, final)
    return candidates, final


def fits_one_call(view: View, budget: SearchBudget, threads: Threads) -> bool:
    """Whether one call into compiled code can search.

    It takes one segment, fewer candidates than documents, and no thread that would help.
    """
    if len(view.segments) != 1 or budget.n_candidates >= view.n_open:
        return False
    return _is_faster_alone(view, budget, threads)


def _is_faster_alone(view: View, budget: SearchBudget, threads: Threads) -> bool:
    """Whether a search has too little work to share."""
    n_tokens = sum(segment.n_tokens for segment in view.segments)
    is_small = n_tokens <= _ALONE_TOKENS and budget.n_candidates <= _ALONE_CANDIDATES
    return threads.n == 1 or is_small


def compile_search(view: View, *, is_one_call: bool, is_rescored: bool) -> None:
    """Search once as briefly as possible, with what other searches call in the same way.

    Args:
        view: Documents of an index that is searched later.
        is_one_call: Whether later searches are made in one call.
        is_rescored: Whether they score stored embeddings.
    """
    dim = len(view.codec.arrays.mean)
    query, stored = np.zeros((1, dim), np.float32), None
    if is_rescored:
        longest = max((int(segment.lengths.max(initial=0)) for segment in view.segments), default=0)
        values = np.zeros((max(longest, 1), dim), np.float32)

        def stored(docs: DocIndex) -> tuple[npt.NDArray[np.uint64], bool]:
            return np.full(len(docs), values.ctypes.data, np.uint64), False

    budget = SearchBudget(nprobe=1, n_gathered=2, n_candidates=2, n_scored=1)
    if is_one_call:
        _search_at_once(query, view, budget, stored)
    else:
        search_view(query, view, budget, Threads(1), stored=stored, trace=Trace())


def _search_at_once(
    query: npt.NDArray[np.float32],
    view: View,
    budget: SearchBudget,
    stored: Addresses | None,
) -> tuple[DocIndex, npt.NDArray[np.float32]]:
    """The same in one call of compiled code: a fifth less time, and without the interpreter's lock."""
    threads = Threads(1)
    segment, blocked = view.segments[0].arrays, _blocked(view, 0)
    sizes, columns = _list_sizes(view, budget), _columns(view.segments[0], budget)
    if stored is not None:
        tables = make_tables(query, view.codec, threads, budget.n_clusters)
        candidates, near = find_candidates(
            tables,
            view.codec.arrays,
            segment,
            blocked,
            budget,
            sizes,
            view.sample,
            columns,
            tables.loss,
        )
        return candidates, _score(tables, view, candidates, tables.loss, near, threads, stored)
    codec = view.codec.arrays
    matches: tuple[DocIndex, npt.NDArray[np.float32]] = search_segment(
        query, codec, segment, blocked, budget, sizes, view.sample, columns
    )
    return matches


def _list_sizes(view: View, budget: SearchBudget) -> npt.NDArray[np.int64]:
    """The postings of lists, as kernels take them."""
    return view.list_sizes if budget.n_postings else _NO_SIZES


def _columns(segment: Segment, budget: SearchBudget) -> npt.NDArray[np.uint8]:
    """Bytes of document vectors, as kernels take them, where so many may be gathered that some are cut."""
    is_cut = budget.nprobe and segment.n_docs >= 2 * BY_PARTS * budget.n_gathered
    return segment.doc_columns if is_cut else _NO_COLUMNS


def _blocked(view: View, number: int) -> npt.NDArray[np.bool_]:
    """The documents of a segment that a search skips, as kernels take them."""
    blocked = view.blocked[number]
    return _NONE_BLOCKED if blocked is None else blocked


def _find_by_steps(
    tables: QueryTables,
    view: View,
    budget: SearchBudget,
    margin: int,
    threads: Threads,
    trace: Trace,
    added: DocIndex | None,
) -> tuple[DocIndex, NearTokens]:
    """The result of find_candidates, for several threads or segments, or with a trace."""
    if budget.n_candidates >= view.n_open:
        candidates = view.open_docs()
        shared = _doc_scores(tables, view, candidates, threads)
    else:
        if budget.nprobe:
            probes = probe(tables, budget, _list_sizes(view, budget))
            missing = np.empty(tables.n_tokens, np.int32)
            impute_missing(probes, tables, view.sample, missing)
            if budget.n_shared:
                n_postings = budget.n_shared * tables.n_tokens
                by_centroid = tables.centroid_scores
                drop_probes(probes, by_centroid, missing, view.list_sizes, n_postings)
            reached, sums = _gather(tables, view, probes, missing, threads)
            estimates, kept = _cut(tables, view, reached, sums, budget, threads)
            gathered = reached[kept]
            shared = _doc_scores(tables, view, gathered, threads)
            scores = sums[kept] + shared
            estimates[kept] = scores
            trace.keep(Stage.GATHER, reached, estimates)
            best = keep_best(scores, budget.n_gathered)
            gathered, shared = gathered[best], shared[best]
            if added is not None:
                gathered = np.union1d(gathered, added)
                shared = _doc_scores(tables, view, gathered, threads)
        else:
            gathered = view.open_docs()
            shared = _doc_scores(tables, view, gathered, threads)
        scores = _prune(tables, view, gathered, threads) + shared
        trace.keep(Stage.PRUNE, gathered, scores)
        best = keep_best(scores, budget.n_candidates)
        candidates, shared = gathered[best], shared[best]
    scores, near = _refine(tables, view, candidates, margin, threads)
    if budget.n_scored < len(candidates):
        scores += shared
        trace.keep(Stage.REFINE, candidates, scores)
        best = keep_best(scores, budget.n_scored)
        candidates, near = candidates[best], keep_near(near, best)
    return candidates, near


def _gather(
    tables: QueryTables,
    view: View,
    probes: npt.NDArray[np.int32],
    missing: Scores,
    threads: Threads,
) -> tuple[DocIndex, Scores]:
    """Documents in the probed lists, and the sums of their centroids' scores."""

    def in_block(at: tuple[int, int]) -> tuple[DocIndex, Scores]:
        number, block = at
        segment, blocked = view.segments[number].arrays, _blocked(view, number)
        n = segment.block_docs[block + 1] - segment.block_docs[block]
        docs, sums = np.empty(n + 1, np.int64), np.empty(n + 1, np.int32)
        n = gather_block(tables, segment, blocked, probes, missing, block, docs, sums)
        return docs[:n] + view.bases[number], sums[:n]

    blocks = [
        (number, block)
        for number, segment in enumerate(view.segments)
        for block in range(segment.n_blocks)
    ]
    by_block = threads.map(in_block, blocks)
    if len(by_block) == 1:
        return by_block[0]
    if not by_block:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    docs, sums = zip(*by_block, strict=True)
    return np.concatenate(docs), np.concatenate(sums)


def _cut(
    tables: QueryTables,
    view: View,
    gathered: DocIndex,
    sums: Scores,
    budget: SearchBudget,
    threads: Threads,
) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Scores of gathered documents, by parts of their vectors where they are many; those to keep."""
    if len(gathered) < 2 * BY_PARTS * budget.n_gathered:
        return sums.copy(), np.arange(len(gathered))
    rough = np.empty(len(gathered), np.int32)

    def estimate(segment: Segment, positions: slice, docs: DocIndex) -> None:
        estimate_doc_vectors(docs, segment.doc_columns, segment.arrays, tables, rough[positions])

    _score_docs(view, gathered, threads, estimate, least=_FEWEST_DOCS * 256)
    rough += sums
    return rough, keep_best(rough, BY_PARTS * budget.n_gathered)


def _score_docs(
    view: View,
    doc_index: DocIndex,
    threads: Threads,
    score: Callable[[Segment, slice, DocIndex], None],
    *,
    least: int = _FEWEST_DOCS,
) -> None:
    """Call score(segment, positions in doc_index, documents of the segment), split over threads."""
    for segment, positions, docs in view.by_segment(doc_index):

        def share(
            start: int,
            stop: int,
            segment: Segment = segment,
            first: int = positions.start,
            docs: DocIndex = docs,
        ) -> None:
            score(segment, slice(first + start, first + stop), docs[start:stop])

        threads.split(share, len(docs), least=least)


def _doc_scores(tables: QueryTables, view: View, doc_index: DocIndex, threads: Threads) -> Scores:
    """Shares of scores that come from the documents' vectors, in units."""
    out = np.empty(len(doc_index), np.int32)

    def score(segment: Segment, positions: slice, docs: DocIndex) -> None:
        score_doc_vectors(docs, segment.arrays, tables, out[positions])

    _score_docs(view, doc_index, threads, score, least=_FEWEST_DOCS * 256)
    return out


def _prune(tables: QueryTables, view: View, doc_index: DocIndex, threads: Threads) -> Scores:
    out = np.empty(len(doc_index), np.int32)

    def score(segment: Segment, positions: slice, docs: DocIndex) -> None:
        score_by_centroids(docs, segment.arrays, tables, out[positions])

    _score_docs(view, doc_index, threads, score, least=_FEWEST_DOCS * 8)
    return out


def _refine(
    tables: QueryTables,
    view: View,
    doc_index: DocIndex,
    margin: int,
    threads: Threads,
) -> tuple[Scores, NearTokens]:
    out = np.empty(len(doc_index), np.int32)
    near = empty_near(view.lengths(doc_index), tables.lanes, tables.centroid_scores.shape[2])
    if tables.known is not None:
        for segment, _, docs in view.by_segment(doc_index):
            score_unknown(docs, segment.arrays, view.codec.arrays, tables)

    def score(segment: Segment, positions: slice, docs: DocIndex) -> None:
        near_tokens = near.select(positions)
        score_compressed(docs, segment.arrays, tables, margin, near_tokens, out[positions])

    _score_docs(view, doc_index, threads, score)
    return out, near


def _score(
    tables: QueryTables,
    view: View,
    doc_index: DocIndex,
    margin: int,
    near: NearTokens,
    threads: Threads,
    stored: Addresses | None,
) -> npt.NDArray[np.float32]:
    out = np.empty(len(doc_index), np.float32)
    codec = view.codec.arrays
    addresses, is_half = stored(doc_index) if stored else (None, False)

    def score(segment: Segment, positions: slice, docs: DocIndex) -> None:
        arrays, near_tokens, scores = segment.arrays, near.select(positions), out[positions]
        if addresses is not None:
            documents = StoredDocs(addresses[positions], len(codec.mean), is_half)
            score_stored(docs, arrays, tables, documents, margin, near_tokens, scores)
            return
        score_decoded(docs, arrays, tables, codec, margin, near_tokens, scores)
        add_doc_vectors(docs, arrays, tables, codec, scores)

    _score_docs(view, doc_index, threads, score)
    return out
