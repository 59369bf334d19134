"""Tokenized texts cut into pieces and joined to batches, for callers that encode for many others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.ragged.offsets import offsets_of


def cut_at(tokenized: TokenizedTexts, max_tokens: int) -> list[TokenizedTexts]:
    """Consecutive texts in pieces of at most ``max_tokens``; a longer text is a piece of its own.

    Args:
        tokenized: The texts.
        max_tokens: Tokens of a piece.

    Returns:
        The pieces in order; one without texts where there are none.
    """
    ends = np.concatenate([[0], np.cumsum(tokenized.lengths)])[tokenized.offsets]
    n_texts, pieces, start = len(tokenized.offsets) - 1, list[TokenizedTexts](), 0
    if ends[-1] <= max_tokens or n_texts == 1:
        return [tokenized]
    while start < n_texts:
        stop = int(np.searchsorted(ends, ends[start] + max_tokens, side="right")) - 1
        stop = max(stop, start + 1)
        pieces.append(_slice(tokenized, start, stop))
        start = stop
    return pieces


def join(pieces: Sequence[TokenizedTexts]) -> TokenizedTexts:
    """The texts of all pieces, one after another; spans where all of them have some."""
    if len(pieces) == 1:
        return pieces[0]
    spans = [piece.spans for piece in pieces if piece.spans is not None]
    return TokenizedTexts(
        [ids for piece in pieces for ids in piece.ids],
        np.concatenate([piece.attended for piece in pieces]),
        [scored for piece in pieces for scored in piece.scored],
        np.concatenate([piece.cut for piece in pieces]),
        offsets_of(np.concatenate([np.diff(piece.offsets) for piece in pieces])),
        [bounds for piece in spans for bounds in piece] if len(spans) == len(pieces) else None,
        pieces[0].are_passages,
    )


def _slice(tokenized: TokenizedTexts, start: int, stop: int) -> TokenizedTexts:
    offsets = tokenized.offsets[start : stop + 1]
    windows = slice(int(offsets[0]), int(offsets[-1]))
    return TokenizedTexts(
        tokenized.ids[windows],
        tokenized.attended[windows],
        tokenized.scored[windows],
        tokenized.cut[start:stop],
        offsets - offsets[0],
        None if tokenized.spans is None else tokenized.spans[windows],
        tokenized.are_passages,
    )
