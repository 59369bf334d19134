"""Embeds tokenized texts batch by batch, and drops the tokens that do not score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from colmodern.encoder.batching import run_in_budget
from colmodern.encoder.model.packing import Indices
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.spans import TokenSpans


class Rows(Protocol):
    """(n_tokens, dim) unit rows, perhaps still being computed on a GPU."""

    is_here: bool

    def wait(self) -> npt.NDArray[np.float32]:
        """The rows, as soon as they are there."""


Forward = Callable[[TokenizedTexts, Indices], Rows]


def embed_texts(
    tokenized: TokenizedTexts,
    forward: Forward,
    *,
    dim: int,
    max_tokens: int,
    is_packed: bool,
    fingerprint: str,
    progress: Progress,
) -> tuple[TokenEmbeddings, int]:
    """Embed texts, and keep the rows of their tokens that score.

    A batch's rows are copied to their places while a GPU computes the next batch.

    Args:
        tokenized: The texts.
        forward: Starts a batch, given indices of its windows.
        dim: Width of a row.
        max_tokens: Tokens of a batch; halved whenever memory runs out.
        is_packed: Whether batches are without padding.
        fingerprint: Fingerprint of the encoder.
        progress: Advances by the texts of each batch.

    Returns:
        Embeddings in the order of the texts, or of their passages, and the last ``max_tokens``.

    Raises:
        ResourceError: A single text does not fit into memory.
    """
    counts = np.array([int(scored.sum()) for scored in tokenized.scored], dtype=np.int64)
    offsets = offsets_of(counts)
    values = np.empty((offsets[-1], dim), np.float32)
    begins_text = tokenized.begins_text

    started: list[tuple[Indices, Rows]] = []

    def finish(n_left: int) -> None:
        while len(started) > n_left:
            batch, rows = started.pop(0)
            unit, ends = rows.wait(), np.cumsum(tokenized.lengths[batch])
            for window, embedded in zip(batch, np.split(unit, ends[:-1]), strict=True):
                values[offsets[window] : offsets[window + 1]] = embedded[tokenized.scored[window]]
            progress.advance(int(begins_text[batch].sum()))

    def run(batch: Indices) -> None:
        rows = forward(tokenized, batch)
        started.append((batch, rows))
        finish(0 if rows.is_here else 1)

    max_tokens = run_in_budget(tokenized.lengths, max_tokens, run, is_packed=is_packed)
    finish(0)
    pairs = zip(tokenized.ids, tokenized.scored, strict=True)
    ids = [ids[scored] for ids, scored in pairs]
    token_ids = np.concatenate(ids) if ids else np.empty(0, np.int32)
    # windows of a text follow each other, and each of its tokens is scored in exactly one of them
    text_offsets = offsets if tokenized.are_passages else offsets[tokenized.offsets]
    spans = None
    if tokenized.spans is not None:
        bounds = [
            span[scored] for span, scored in zip(tokenized.spans, tokenized.scored, strict=True)
        ]
        spans = TokenSpans.from_bounds(
            np.concatenate([np.empty((0, 2), np.int64), *bounds]), text_offsets
        )
    embeddings = TokenEmbeddings.unchecked(values, text_offsets, token_ids, fingerprint, spans)
    return embeddings, max_tokens
