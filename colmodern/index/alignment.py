"""The document token that each query token matches best, and the characters that tokens stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from colmodern.types import TokenMatch

Characters = tuple[tuple[tuple[int, int], ...], ...]


def align(similarities: npt.NDArray[np.float32]) -> tuple[TokenMatch, ...]:
    """The best document token of each query token; none for a document without tokens.

    similarities: (n_query_tokens, n_doc_tokens)
    """
    if similarities.shape[1] == 0:
        return ()
    best = similarities.argmax(axis=1).tolist()
    return tuple(
        TokenMatch(i, token, float(similarities[i, token])) for i, token in enumerate(best)
    )


def characters_of_tokens(
    bounds: npt.NDArray[np.integer], row_of_token: npt.NDArray[np.integer], n_rows: int
) -> Characters:
    """For each row of embeddings, (start, end) of the tokens that it stands for and that cover text.

    bounds: (n_tokens, 2); row_of_token: (n_tokens,) row that each is a part of
    """
    characters: list[list[tuple[int, int]]] = [[] for _ in range(n_rows)]
    for (start, end), row in zip(bounds.tolist(), row_of_token.tolist(), strict=True):
        if end > start:
            characters[row].append((start, end))
    return tuple(map(tuple, characters))
