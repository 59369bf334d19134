"""Words for the tokens of an explanation, and its passages where only the text tells of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.errors import ConfigError
from colmodern.index.alignment import characters_of_tokens
from colmodern.index.spans import SpanSettings, spans_of_similarities
from colmodern.types import Explanation


def with_words(
    explanation: Explanation,
    encoder: Encoder,
    query: str,
    *,
    text: str | None = None,
    token_ids: npt.NDArray[np.integer] | None = None,
) -> Explanation:
    """An explanation that says which words its tokens are.

    Args:
        explanation: What an index explained.
        encoder: The encoder of the query and the document.
        query: The query's text.
        text: The text that was encoded for the document; it also gives the passages that matched,
            where the index does not keep the characters of its tokens and they were not pooled.
        token_ids: (n_doc_tokens,) ids of the document's tokens, where embeddings keep them.

    Returns:
        The explanation with ``query_words`` and ``document_words``; one of them stays empty where
        its tokens are not known.
    """
    if explanation.similarities is None:
        return explanation
    n_query_tokens, n_doc_tokens = explanation.similarities.shape
    query_ids = _scored_ids(encoder.tokenize([query], "query"))
    if len(query_ids) == n_query_tokens:
        words = tuple(encoder.tokenizer.words(query_ids))
        explanation = replace(explanation, query_words=words)
    if text is not None and not explanation.token_characters:
        explanation = _with_passages(explanation, encoder, text)
    if token_ids is None and text is not None:
        token_ids = _scored_ids(encoder.tokenize([text], "document"))
    if token_ids is not None and len(token_ids) == n_doc_tokens:
        words = tuple(encoder.tokenizer.words(token_ids))
        return replace(explanation, document_words=words)
    if text is not None and explanation.token_characters:  # pooled: a token stands for several
        return replace(explanation, document_words=_words_in(text, explanation))
    return explanation


def _scored_ids(tokenized: TokenizedTexts) -> npt.NDArray[np.int32]:
    """Ids of the tokens that take part in MaxSim, of one text."""
    windows = [ids[scored] for ids, scored in zip(tokenized.ids, tokenized.scored, strict=True)]
    return np.concatenate([np.zeros(0, np.int32), *windows])


def _with_passages(explanation: Explanation, encoder: Encoder, text: str) -> Explanation:
    """The explanation with characters and passages; as it is where the tokenizer does not tell them."""
    try:
        tokenized = encoder.tokenize([text], "document", spans=True)
    except ConfigError:
        return explanation
    assert tokenized.spans is not None
    assert explanation.similarities is not None
    windows = zip(tokenized.spans, tokenized.scored, strict=True)
    bounds = np.concatenate(
        [np.zeros((0, 2), np.int64), *(spans[scored] for spans, scored in windows)]
    )
    n_doc_tokens = explanation.similarities.shape[1]
    if len(bounds) != n_doc_tokens:
        return explanation
    rows = np.arange(n_doc_tokens)
    characters = characters_of_tokens(bounds, rows, n_doc_tokens)
    spans = spans_of_similarities(
        explanation.similarities, bounds, rows, text=text, settings=SpanSettings()
    )
    return replace(
        explanation,
        characters=tuple(characters[match.doc_token] for match in explanation.alignment),
        spans=tuple(spans),
        token_characters=characters,
    )


def _words_in(text: str, explanation: Explanation) -> tuple[str, ...]:
    """What each token covers in the text; a token that covers nothing is a special one."""
    return tuple(
        " … ".join(text[start:end] for start, end in characters) or "·"
        for characters in explanation.token_characters
    )
