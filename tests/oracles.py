"""Slow truths in loops that anybody can check; they share no code with the library."""

from __future__ import annotations

import math


def maxsim(query: list[list[float]], document: list[list[float]]) -> float:
    """Sum over query tokens of the largest dot product with a document token; nothing scores 0."""
    total = 0.0
    for q in query:
        best = None
        for d in document:
            similarity = sum(float(a) * float(b) for a, b in zip(q, d, strict=True))
            best = similarity if best is None else max(best, similarity)
        total += 0.0 if best is None else best
    return total


def ranking(scores: dict[str, float], k: int) -> list[str]:
    """Ids by falling score, equal scores by rising id."""
    return sorted(scores, key=lambda doc_id: (-scores[doc_id], doc_id))[:k]


def ndcg(ranked: list[str], grades: dict[str, int], k: int) -> float:
    """nDCG with linear gain, as trec_eval computes it."""

    def dcg(gains: list[int]) -> float:
        return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:k]))

    ideal = dcg(sorted((g for g in grades.values() if g > 0), reverse=True))
    return dcg([max(0, grades.get(doc_id, 0)) for doc_id in ranked]) / ideal if ideal else 0.0
