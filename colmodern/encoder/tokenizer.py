"""From texts to token ids: markers, prompts, cutting, expansion and the skiplist."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.encoder.settings import EncoderSettings, Role
from colmodern.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of texts, ready for the backbone.

    ids: one (n_tokens,) array per text, expansion tokens last
    attended: (n_texts,) how many of each text's first tokens are attended to
    scored: one (n_tokens,) bool array per text, True where the embedding takes part in MaxSim
    cut: (n_texts,) tokens that a length limit removed
    """

    ids: list[Ids]
    attended: npt.NDArray[np.int64]
    scored: list[npt.NDArray[np.bool_]]
    cut: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_texts,) tokens of each text, expansion included."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


class TextTokenizer:
    """A transformers tokenizer plus the rules of EncoderSettings.

    Raises CheckpointError when a marker is not a token of the vocabulary, and ConfigError when
    expansion is asked for and there is no token for it.
    """

    def __init__(self, tokenizer: Any, settings: EncoderSettings) -> None:
        self._tokenizer = tokenizer
        self.settings = settings
        self._n_trailing = _trailing_specials(tokenizer)
        self._markers = {
            "query": self._marker("query_marker", settings.query_marker),
            "document": self._marker("document_marker", settings.document_marker),
        }
        self._expansion_id = self._find_expansion_id()
        self.skiplist_ids = self._find_skiplist_ids()
        self.pad_id = int(tokenizer.pad_token_id or 0)

    def with_settings(self, settings: EncoderSettings) -> TextTokenizer:
        """The same tokenizer under other rules."""
        return TextTokenizer(self._tokenizer, settings)

    def tokenize(self, texts: Sequence[str], role: Role) -> TokenizedTexts:
        """Token ids of every text, cut to the length limit of its role."""
        settings = self.settings
        prompt = settings.query_prompt if role == "query" else settings.document_prompt
        limit = settings.query_length if role == "query" else settings.document_length
        if len(texts) == 0:  # transformers' tokenizers do not take an empty list
            return TokenizedTexts([], np.zeros(0, np.int64), [], np.zeros(0, np.int64))
        prepared = [self._prepare(prompt + text) for text in texts]
        full = self._tokenizer(
            prepared,
            add_special_tokens=True,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        marker = self._markers[role]
        room = limit - (marker is not None)
        ids = [self._cut_and_mark(text, room, marker) for text in full]
        cut = np.array([max(0, len(text) - room) for text in full], dtype=np.int64)
        attended = np.array([len(text) for text in ids], dtype=np.int64)
        if role == "query" and settings.query_expansion:
            ids = [self._expand(text) for text in ids]
            if settings.attend_to_expansion:
                attended = np.array([len(text) for text in ids], dtype=np.int64)
        skips = role == "document" or settings.skip_in_queries
        scored = [
            ~np.isin(text, self.skiplist_ids) if skips else np.ones(len(text), np.bool_)
            for text in ids
        ]
        return TokenizedTexts(ids, attended, scored, cut)

    def _prepare(self, text: str) -> str:
        if self.settings.strip_text:
            text = text.strip()
        return text.lower() if self.settings.lowercase else text

    def _cut_and_mark(self, text: list[int], room: int, marker: int | None) -> Ids:
        if len(text) > room:
            tail = text[len(text) - self._n_trailing :]
            text = text[: room - len(tail)] + tail
        if marker is not None:
            text = [*text[:1], marker, *text[1:]]  # where PyLate and colbert-ai put it
        return np.array(text, dtype=np.int32)

    def _expand(self, text: Ids) -> Ids:
        target = self.settings.expansion_length or self.settings.query_length
        missing = max(0, target - len(text))
        return np.concatenate([text, np.full(missing, self._expansion_id, np.int32)])

    def _marker(self, field: str, marker: str | None) -> int | None:
        if marker is None:
            return None
        id_ = _id_of_token(self._tokenizer, marker)
        if id_ is None:
            raise CheckpointError(
                f"{field}={marker!r} is not a token of this checkpoint's vocabulary; its embedding "
                "would be random. Use the tokenizer that the checkpoint was saved with, or set "
                f"{field.replace('marker', 'prompt')} to put text before it instead"
            )
        return id_

    def _find_expansion_id(self) -> int | None:
        if not self.settings.query_expansion:
            return None
        tokenizer, wanted = self._tokenizer, self.settings.expansion_token
        id_ = tokenizer.mask_token_id if wanted is None else _id_of_token(tokenizer, wanted)
        if id_ is None and wanted is None:
            id_ = tokenizer.eos_token_id  # decoders have no mask token; PyLate takes this too
        if id_ is None:
            raise ConfigError(
                f"query_expansion is on, but expansion_token={wanted!r} is no token of this "
                "vocabulary; name one, or set query_expansion to false"
            )
        return int(id_)

    def _find_skiplist_ids(self) -> Ids:
        found = {word: _id_of_token(self._tokenizer, word) for word in self.settings.skiplist}
        if ignored := [word for word, id_ in found.items() if id_ is None]:
            logger.warning(
                "skiplist words that are not one token of this vocabulary are ignored: %s",
                " ".join(map(repr, ignored)),
            )
        return np.array(sorted({id_ for id_ in found.values() if id_ is not None}), dtype=np.int32)


def _id_of_token(tokenizer: Any, token: str) -> int | None:
    """Vocabulary id of a token, None when it is not in the vocabulary (never the id of UNK)."""
    id_ = tokenizer.convert_tokens_to_ids(token)
    if id_ is None or (id_ == tokenizer.unk_token_id and token != tokenizer.unk_token):
        return None
    return int(id_)


def _trailing_specials(tokenizer: Any) -> int:
    """How many special tokens the tokenizer puts after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    leading = next(i for i in range(len(full) + 1) if full[i : i + len(bare)] == bare)
    return len(full) - len(bare) - leading
