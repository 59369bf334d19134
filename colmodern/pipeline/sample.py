"""Counting the tokens of a corpus from a seeded sample of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.config.models import DatasetConfig
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.encoding.shards import guess_tokens
from colmodern.encoding.store import document_texts
from colmodern.evaluation.significance import Estimate, estimate
from colmodern.types import Dataset

Counts = npt.NDArray[np.float64]


class Total(NamedTuple):
    """A number of the whole corpus and the interval that holds it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sample:
    """Documents drawn at random, and what the encoder's tokenizer makes of them.

    Attributes:
        token_counts: (n_sampled,) token embeddings that each document keeps.
        inputs: (n_sampled,) tokens that the model reads of each document.
        guesses: (n_sampled,) tokens guessed from letters.
        guessed: Sum of the guesses over the whole corpus.
        n_query_tokens: Token embeddings of all queries together.
        n_query_inputs: Tokens that the model reads of all queries together.
    """

    n_docs: int  # documents of the corpus
    texts: Sequence[str]
    token_counts: Counts
    inputs: Counts
    guesses: Counts
    guessed: float
    id_bytes: float  # mean bytes of a document's id
    n_queries: int
    n_query_tokens: float
    n_query_inputs: float

    @property
    def tokens(self) -> Total:
        """Token embeddings of the corpus."""
        return self._total(self.token_counts)

    @property
    def input_tokens(self) -> Total:
        """Tokens that the model reads of the corpus."""
        return self._total(self.inputs)

    def _total(self, counts: Counts) -> Total:
        """The guess for all documents, put right by the sample: a ratio estimate with its interval."""
        if not len(counts):
            return Total(0.0, 0.0, 0.0)
        if len(counts) == self.n_docs:  # nothing was left to chance
            return Total(*(float(counts.sum()),) * 3)
        ratio = counts.sum() / self.guesses.sum()
        value = ratio * self.guessed
        # what the guess does not explain is left to chance, the less the more was looked at
        errors: Estimate = estimate([counts - ratio * self.guesses])
        reach = self.n_docs * np.sqrt(1 - len(counts) / self.n_docs)
        return Total(*(float(value + reach * (edge - errors.mean)) for edge in errors))


def take_sample(
    dataset: Dataset, encoder: Encoder, config: DatasetConfig, *, size: int, seed: int
) -> Sample:
    """Draw ``size`` documents, or all where there are fewer, and count their tokens and the queries'.

    Reads the corpus once.
    """
    n_docs = len(dataset.corpus)
    positions = np.random.default_rng(seed).permutation(n_docs)[:size]
    wanted, ids, texts, guessed = set(positions.tolist()), [], [], 0.0
    settings = encoder.settings
    limit = None if settings.overflow == "split" else settings.document_length
    read = document_texts(
        dataset.corpus, join_titles=config.join_titles, title_separator=config.title_separator
    )
    for position, (doc_id, text) in enumerate(read):
        guessed += guess_tokens(text, limit)
        if position in wanted:
            ids.append(doc_id)
            texts.append(text)
    tokenized = encoder.tokenize(texts, "document")
    token_counts = _of_texts(tokenized, [float(scored.sum()) for scored in tokenized.scored])
    queries = encoder.tokenize(dataset.model_queries.values(), "query")
    return Sample(
        n_docs,
        texts,
        _pooled(token_counts, encoder),
        _of_texts(tokenized, [float(count) for count in tokenized.attended]),
        np.array([guess_tokens(text, limit) for text in texts], np.float64),
        guessed,
        float(np.mean([len(doc_id.encode("utf-8", "replace")) for doc_id in ids])) if ids else 0.0,
        len(dataset.queries),
        float(sum(scored.sum() for scored in queries.scored)),
        float(sum(map(len, queries.ids))),
    )


def _of_texts(tokenized: TokenizedTexts, of_windows: Sequence[float]) -> Counts:
    """Sums over the windows of each text."""
    ends = np.concatenate([[0.0], np.cumsum(of_windows)])
    return np.asarray(np.diff(ends[tokenized.offsets]), np.float64)


def _pooled(counts: Counts, encoder: Encoder) -> Counts:
    """Rows that pooling keeps of so many."""
    factor, protected = encoder.settings.pool_factor, encoder.settings.protected_tokens
    if factor == 1:
        return counts
    kept = np.minimum(counts, protected)
    left = counts - kept
    return kept + np.where(left > 0, np.maximum(left // factor, 1), 0)
