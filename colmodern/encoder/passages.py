"""Encodes the passages of long documents, each as a document of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from colmodern.arguments import expect_flags
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.check import check_texts
from colmodern.encoder.text.settings import EncoderSettings
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.errors import ConfigError
from colmodern.passages import passage_ids
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import checked_doc_ids
from colmodern.ragged.embeddings import TokenEmbeddings


def encode_passages(
    encoder: Encoder,
    texts: Iterable[str],
    doc_ids: Sequence[str],
    *,
    spans: bool = False,
    progress: Progress | bool | None = None,
) -> tuple[TokenEmbeddings, list[str]]:
    """Embed the passages of documents: the windows of ``overflow="split"``, not joined.

    A passage has the tokens that its window has in the joined document, with the special tokens, the
    marker and the prompt that only the first and the last window have there. So each token of a text
    is in one passage, and has seen its neighbours on both sides.

    Args:
        encoder: An encoder with the setting ``overflow="split"``; a window has ``document_length``
            tokens.
        texts: An ordered iterable of n_docs strings.
        doc_ids: (n_docs,) unique ids of the documents.
        spans: Whether to keep the characters that each token covers, counted in the whole text.
        progress: True for a bar on stderr.

    Returns:
        Embeddings, one text for each passage, and the ids of the passages: "manual#0", "manual#1".
        A document of at most ``document_length`` tokens is one passage. PassageIndex ranks documents
        by an index of them.

    Raises:
        ConfigError: The encoder cuts long documents.
        InputError: An item is not a string, or the ids are not one for each text.
    """
    expect_flags(spans=spans)
    checked = check_texts(texts, "document")
    ids = checked_doc_ids(doc_ids, len(checked))
    tokenized = tokenize_passages(encoder, checked, spans=spans)
    progress = as_progress(progress)
    progress.start("encode passages", len(checked), unit="texts")
    embeddings = encoder.pool(encoder.encode_tokens(tokenized, progress=progress))
    progress.finish()
    return embeddings, passage_ids(ids, np.diff(tokenized.offsets).tolist())


def tokenize_passages(
    encoder: Encoder, texts: Sequence[str], *, spans: bool = False
) -> TokenizedTexts:
    """Tokenize documents for their passages; arguments and errors as of ``encode_passages``."""
    expect_split(encoder.settings)
    checked = check_texts(texts, "document")
    return encoder.tokenizer.tokenize(checked, "document", spans=spans, passages=True)


def expect_split(settings: EncoderSettings) -> None:
    """Raise ConfigError for settings that cut long documents, which then have no passages."""
    if settings.overflow != "split":
        raise ConfigError(
            f"overflow={settings.overflow!r} cuts long documents, so that they have no passages; set "
            "overflow to split, and document_length to the tokens of a passage"
        )
