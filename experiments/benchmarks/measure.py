"""How good a ranking is: overlap with the exact one, and nDCG."""

from __future__ import annotations

import numpy as np
from collection import Collection

from colmodern.types import ScoredDoc

_TIE = 1e-5  # scores closer than this are one: float32 sums differ by their order


def overlap(results: list[list[int]], exact: tuple[np.ndarray, np.ndarray], k: int) -> float:
    """Mean share of the first k rows that are among the exact k best.

    exact: rows and scores, (n_queries, depth) each; a document that ties with the k-th counts as
    one of the best, since collections have documents twice
    """
    rows, scores = exact
    k = min(k, rows.shape[1])
    shares = []
    for result, best, values in zip(results, rows, scores, strict=True):
        among = set(best[values >= values[k - 1] - _TIE].tolist())
        shares.append(len(among.intersection(result[:k])) / k)
    return float(np.mean(shares))


def ndcg(results: list[list[int]], collection: Collection) -> float | None:
    """nDCG@10 over the judged queries, None where nothing is judged."""
    from colmodern import evaluate

    if not collection.qrels:
        return None
    doc_ids = collection.documents.doc_ids
    run = {
        query_id: [ScoredDoc(doc_ids[row], -float(rank)) for rank, row in enumerate(result)]
        for query_id, result in zip(collection.queries.doc_ids, results, strict=True)
    }
    return evaluate(run, collection.qrels, ["nDCG@10"]).mean["nDCG@10"]
