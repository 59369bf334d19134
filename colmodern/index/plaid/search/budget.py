"""How much a search looks at when nobody says."""

from __future__ import annotations

from colmodern.codecs.centroids import FEW_CENTROIDS
from colmodern.errors import InputError
from colmodern.kernels.types import SearchBudget

_SCANNED_TOKENS = 400_000  # fewer are scored by all their centroids: as cheap as their lists
_PROBED = 32
# a filter of fewer documents probes twice as much: what it misses is in lists that were not probed, and
# its searches are still faster than those without a filter
_SELECTIVE = 0.125
# measured at this many passages (experiments/log/search.md): candidates = BASE + PER_RESULT * k hold
# overlap@10 = 0.98 and overlap@100 = 0.97; what 4,000 passages need is _GROWTH's power of it
_MEASURED_AT = 123_000
_GROWTH = 0.4
# an index of more than FEW_CENTROIDS, measured at a million passages: longer lists reach documents that
# are not among the candidates, so that a query token stops opening them after so many postings
_MILLION, _POSTINGS, _POSTINGS_GROWTH = 1_000_000, 16_000, 0.25
# query tokens share so many each: lists of a token that nearly all documents match add little to a score
_SHARED_POSTINGS = 10_000
_SLOW_GROWTH = 0.2
_CLUSTERS = 48  # clusters of centroids that each query token of such an index looks into
# rescoring mends what a codec confuses among a million documents, if it is given more of them
_BASE_RESCORED, _GATHERED_RESCORED, _SCORED_RESCORED = 590, 2300, 120
_FEWEST = 128  # candidates: cheap, and a small collection has less to choose from
_BASE, _PER_RESULT, _GATHERED = 240, 7, 1000
_FEW_TOKENS = 1 << 16  # an index of fewer tokens is decoded whole: it costs a millisecond or two
_NARROW = 0.01  # share of documents; a filter that lets fewer through is answered exactly


def choose_budget(
    k: int,
    *,
    n_open: int,
    n_docs: int,
    n_tokens: int,
    n_centroids: int,
    nprobe: int | None,
    n_candidates: int | None,
    rescored: bool,
) -> SearchBudget:
    """Fill in what the caller left open.

    n_open: documents that may be returned, of n_docs; n_tokens: of the whole index

    Raises InputError for values below 1, or fewer candidates than k.
    """
    if nprobe is not None and nprobe < 1:
        raise InputError(f"nprobe={nprobe}; probe at least 1 centroid, or pass None")
    if n_candidates is not None and n_candidates < k:
        raise InputError(
            f"n_candidates={n_candidates} is below k={k}; raise it, lower k, or pass None"
        )
    is_large = n_centroids > FEW_CENTROIDS
    size = n_docs / _MEASURED_AT
    growth = size ** (_SLOW_GROWTH if is_large and size > 1 else _GROWTH)
    is_widened = is_large and rescored
    base, gathered = (_BASE_RESCORED, _GATHERED_RESCORED) if is_widened else (_BASE, _GATHERED)
    candidates = n_candidates or max(2 * k, _FEWEST, round((base + _PER_RESULT * k) * growth))
    is_complete = n_open <= max(candidates, _NARROW * n_docs)
    if is_complete:
        candidates = max(candidates, n_open)
    # a few long documents are all candidates, and still most of their tokens cannot win
    is_wanted = n_candidates is not None or n_open < n_docs
    is_exhaustive = is_complete and (is_wanted or n_tokens <= _FEW_TOKENS)
    scans = nprobe is None and n_tokens <= _SCANNED_TOKENS
    # the bound counts documents that may be returned, as if they were spread evenly over the lists
    posting_growth = (n_docs / _MILLION) ** _POSTINGS_GROWTH * n_docs / max(1, n_open)
    counts_postings = is_large and nprobe is None
    probed = 2 * _PROBED if n_open < _SELECTIVE * n_docs else _PROBED
    scored = k + k // 2 + 30 if rescored else k + k // 8 + 16
    if is_widened:
        scored = min(candidates, 2 * k + _SCORED_RESCORED)
    return SearchBudget(
        nprobe=0 if scans else min(nprobe or probed, n_centroids),
        n_gathered=n_open if scans else round(2 * candidates + gathered * growth),
        n_candidates=candidates,
        n_scored=n_open if is_exhaustive else scored,
        exhaustive=is_exhaustive,
        n_postings=round(_POSTINGS * posting_growth) if counts_postings else 0,
        n_shared=round(_SHARED_POSTINGS * posting_growth) if counts_postings else 0,
        n_clusters=_CLUSTERS if counts_postings else 0,
    )
