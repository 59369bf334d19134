"""Spans of tokens in the text that a caller passed, whatever was done to it before."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import category

import numpy as np
import numpy.typing as npt

from colmodern.ragged.spans import Bounds


def bounds_in_text(
    bounds: Sequence[tuple[int, int]], *, text: str, prompt: str, prepared: str, is_lowered: bool
) -> Bounds:
    """Spans of a whole text's tokens, as indexes of that text.

    A tokenizer follows its own normalization; this follows what was done before it was called: a
    prompt in front, white space stripped, letters lowered (which makes two of one in "İ").

    Args:
        bounds: (start, end) of each token in ``prepared``, (0, 0) for special tokens.
        text: The text.
        prompt: Text that was put before it.
        prepared: What the tokenizer read: ``prompt + text``, perhaps stripped and lowered.
        is_lowered: Whether letters were lowered.

    Returns:
        (n_tokens, 2) int64 with starts that do not fall. The span of a token that covers nothing of
        the text is empty, and lies at the end of the token before it.
    """
    spans = np.array(bounds, np.int64).reshape(-1, 2)
    joint = prompt + text
    stripped = joint.strip() if len(prepared) < len(joint) or is_lowered else joint
    if is_lowered and len(prepared) != len(stripped):
        widths = [len(letter.lower()) for letter in stripped]
        owners = np.append(np.repeat(np.arange(len(stripped)), widths), len(stripped))
        starts, ends = owners[spans[:, 0]], owners[np.maximum(spans[:, 1] - 1, 0)] + 1
        is_empty = spans[:, 0] == spans[:, 1]
        spans = np.stack([starts, np.where(is_empty, starts, ends)], axis=1)
    n_before = joint.find(stripped) if len(stripped) < len(joint) else 0
    return _with_marks(in_order(np.clip(spans + (n_before - len(prompt)), 0, len(text))), text)


def _with_marks(spans: Bounds, text: str) -> Bounds:
    """The same spans, with accents that a tokenizer removed or joined to the letter before them."""
    if text.isascii():
        return spans
    followers = np.append(spans[1:, 0], len(text))
    for token in np.flatnonzero((spans[:, 1] < followers) & (spans[:, 0] < spans[:, 1])).tolist():
        end, limit = int(spans[token, 1]), int(followers[token])
        while end < limit and category(text[end]).startswith("M"):
            end += 1
        spans[token, 1] = end
    return spans


def in_order(spans: Bounds) -> Bounds:
    """The same spans with empty ones at the end of the token before, and starts that do not fall."""
    is_empty = spans[:, 0] >= spans[:, 1]
    ends = np.maximum.accumulate(np.where(is_empty, 0, spans[:, 1])) if len(spans) else spans[:, 1]
    spans[is_empty] = ends[is_empty, None]
    if len(spans):
        spans[:, 0] = np.maximum.accumulate(spans[:, 0])
        np.maximum(spans[:, 0], spans[:, 1], out=spans[:, 1])
    return spans


def bounds_of_window(bounds: Bounds, positions: npt.ArrayLike, n_tokens: int) -> Bounds:
    """Spans of the tokens of one window.

    Args:
        bounds: (n, 2) spans of the whole text's tokens.
        positions: (n_window,) numbers of the text's tokens in the window, -1 for a marker.
        n_tokens: Tokens of the window with expansion tokens, which come last and cover nothing.
    """
    taken = np.full(n_tokens, -1, np.int64)
    positions = np.asarray(positions, np.int64)
    taken[: len(positions)] = positions
    spans = np.zeros((n_tokens, 2), np.int64)
    spans[taken >= 0] = bounds[taken[taken >= 0]]
    return in_order(spans)
