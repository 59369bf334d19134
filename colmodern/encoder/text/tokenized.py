"""Texts as the backbone reads them: the token ids of their windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.encoder.text.library import Ids
from colmodern.errors import CheckpointError
from colmodern.ragged.spans import Bounds


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of texts, ready for the backbone; a text is one window, or several if it is split.

    Attributes:
        ids: One (n_tokens,) int32 array per window, expansion tokens last.
        attended: (n_windows,) how many of each window's first tokens are attended to.
        scored: One (n_tokens,) bool array per window, True where the embedding takes part in MaxSim.
        cut: (n_texts,) tokens that a length limit removed.
        offsets: (n_texts + 1,) int64; text i owns windows offsets[i] to offsets[i + 1].
        spans: One (n_tokens, 2) int64 array per window: the characters of its text that each token
            covers; None where they were not asked for.
        are_passages: Whether each window is a document of its own, a passage of its text.
    """

    ids: list[Ids]
    attended: npt.NDArray[np.int64]
    scored: list[npt.NDArray[np.bool_]]
    cut: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    spans: list[Bounds] | None = None
    are_passages: bool = False

    def __repr__(self) -> str:
        return (
            f"TokenizedTexts(n_texts={len(self.offsets) - 1}, n_windows={len(self.ids)}, "
            f"n_tokens={int(self.lengths.sum())}, cut={int(self.cut.sum())})"
        )

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_windows,) number of tokens in each window, including expansion tokens."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    @property
    def embedding_counts(self) -> npt.NDArray[np.int64]:
        """(n_texts,) documents that the embeddings of each text are: its passages, or 1."""
        counts = np.diff(self.offsets)
        return counts if self.are_passages else np.ones_like(counts)

    @property
    def begins_text(self) -> npt.NDArray[np.bool_]:
        """(n_windows,) whether each window is the first of its text."""
        begins = np.zeros(len(self.ids), np.bool_)
        begins[self.offsets[:-1]] = True
        return begins

    def ids_of(self, windows: npt.NDArray[np.int64], n_vocab: int) -> list[Ids]:
        """Token ids of windows.

        Args:
            windows: (n,) indices of windows.
            n_vocab: Tokens that the backbone knows.

        Raises:
            CheckpointError: An id has no row in the backbone's table of tokens.
        """
        ids = [self.ids[window] for window in windows]
        if (last := max((int(text.max()) for text in ids if len(text)), default=0)) >= n_vocab:
            raise CheckpointError(
                f"the tokenizer gives token {last}, and the backbone knows tokens 0 to {n_vocab - 1}: "
                "they do not belong to one checkpoint; fetch the checkpoint again"
            )
        return ids

    def facts(self) -> dict[str, int]:
        """Counts of the texts that were cut or split, of their tokens and of windows."""
        n_windows = np.diff(self.offsets)
        return {
            "n_truncated": int((self.cut > 0).sum()),
            "n_cut_tokens": int(self.cut.sum()),
            "n_input_tokens": int(self.attended.sum()),
            "n_split": int((n_windows > 1).sum()),
            "n_windows": len(self.ids),
        }

    def describe_cut(self, query_length: int) -> str | None:
        """A sentence on the queries that were cut at ``query_length``; None where none was."""
        facts = self.facts()
        if not facts["n_truncated"]:
            return None
        return (
            f"{facts['n_truncated']:,} of {len(self.cut):,} queries are longer than query_length="
            f"{query_length} and were cut, by {facts['n_cut_tokens']:,} tokens; raise query_length"
        )
