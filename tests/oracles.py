"""Slow truths in loops that anybody can check; they share no code with the library."""

from __future__ import annotations

import itertools
import math
import re
from fractions import Fraction

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage


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
        return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:k]))

    ideal = dcg(sorted((g for g in grades.values() if g > 0), reverse=True))
    return dcg([max(0, grades.get(doc_id, 0)) for doc_id in ranked]) / ideal if ideal else 0.0


def sign_test(groups: list[list[float]]) -> float:
    """Share of all sign patterns whose mean of group means is as far from 0 as the one observed."""

    def mean_of_means(signs: tuple[int, ...]) -> float:
        rest, total = list(signs), 0.0
        for group in groups:
            total += sum(rest.pop(0) * value for value in group) / len(group)
        return total / len(groups)

    n = sum(map(len, groups))
    seen = abs(mean_of_means((1,) * n))
    patterns = list(itertools.product((1, -1), repeat=n))
    return sum(abs(mean_of_means(signs)) >= seen - 1e-12 for signs in patterns) / len(patterns)


def holm_rejects(p_values: list[float], alpha: float) -> list[bool]:
    """From the smallest p-value on, until one is above its share of alpha."""
    rejected = [False] * len(p_values)
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] * (len(p_values) - step) > alpha:
            break
        rejected[i] = True
    return rejected


def ward(tokens: np.ndarray, n_clusters: int) -> list[int]:
    """scipy's clusters of at least two rows, numbered in the order of their first rows."""
    tree = linkage(tokens.astype(np.float64), "ward")
    names: dict[int, int] = {}
    labels = fcluster(tree, n_clusters, "maxclust").tolist()
    return [names.setdefault(name, len(names)) for name in labels]


def pool(
    tokens: np.ndarray, ids: np.ndarray, factor: int, protected: int
) -> tuple[np.ndarray, list[int]]:
    """One document's pooled rows and their token ids."""
    pooled, pooled_ids = list(tokens[:protected]), ids[:protected].tolist()
    rest, rest_ids = tokens[protected:], ids[protected:].tolist()
    if len(rest):
        n_clusters = max(1, len(rest) // factor)
        labels = ward(rest, n_clusters) if len(rest) > 1 else [0]
        for cluster in range(n_clusters):
            members = [i for i, label in enumerate(labels) if label == cluster]
            mean = sum(rest[i].astype(np.float64) for i in members) / len(members)
            mean = mean / math.sqrt(sum(x * x for x in mean))
            pooled.append(mean)
            near = {i: float(rest[i] @ mean) for i in members}
            first = min(i for i in members if near[i] >= max(near.values()) - 1e-5)
            pooled_ids.append(rest_ids[first])
    return np.array(pooled).reshape(-1, tokens.shape[1]), pooled_ids


def passages(
    query: list[list[float]],
    document: list[list[float]],
    bounds: list[tuple[int, int]],
    rows: list[int],
    text: str | None,
    *,
    max_spans: int,
    min_share: float,
    max_gap: int,
    max_length: int,
) -> list[tuple[int, int, float]]:
    """What matched_spans promises, by trying every passage; words are of letters and digits."""
    given = [Fraction(0)] * len(document)
    for token in query:
        products = [sum(a * b for a, b in zip(token, row, strict=True)) for row in document]
        best = max(range(len(document)), key=lambda row: (products[row], -row))
        given[best] += Fraction(products[best])
    pieces = []
    for (start, end), row in zip(bounds, rows, strict=True):
        members = [
            i for i, other in enumerate(rows) if other == row and bounds[i][0] < bounds[i][1]
        ]
        if start == end or given[row] == 0:
            continue
        share = given[row] / len(members)
        characters = {i for i in range(start, end) if text is None or not text[i].isspace()}
        if text is not None:
            for word in re.finditer(r"\w+", text):
                if characters & set(range(*word.span())):
                    characters |= set(range(*word.span()))
        if characters:
            pieces.append((set(range(min(characters), max(characters) + 1)), share))
    matches: list[tuple[set[int], Fraction]] = []
    for characters, share in pieces:
        touching = [match for match in matches if match[0] & characters]
        matches = [match for match in matches if not match[0] & characters]
        for other, score in touching:
            characters, share = characters | other, share + score
        matches.append((characters, share))
    matches.sort(key=lambda match: min(match[0]))
    chosen: list[tuple[int, int, Fraction]] = []
    used: set[int] = set()
    while len(chosen) < max_spans:
        windows = []
        for i in range(len(matches)):
            for j in range(i, len(matches)):
                inner = range(i, j + 1)
                starts = [min(matches[n][0]) for n in inner]
                ends = [max(matches[n][0]) + 1 for n in inner]
                gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
                is_short = i == j or ends[-1] - starts[0] <= max_length
                if used & set(inner) or max(gaps, default=0) > max_gap or not is_short:
                    continue
                score = sum((matches[n][1] for n in inner), Fraction(0))
                windows.append((score, starts[0] - ends[-1], -starts[0], i, j))
        if not windows:
            break
        score, size, start, i, j = max(windows)
        if score <= 0 or score < Fraction(min_share) * sum(given):
            break
        used |= set(range(i, j + 1))
        chosen.append((-start, -start - size, score))
    return [(start, end, float(score)) for start, end, score in sorted(chosen)]
