"""Turns texts into token ids: markers, prompts, cutting, expansion and the skiplist."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.encoder.text.library import (
    Ids,
    as_ids,
    id_of_token,
    read_texts,
    trailing_specials,
)
from colmodern.encoder.text.settings import PUNCTUATION, EncoderSettings, Role
from colmodern.encoder.text.spans import bounds_in_text, bounds_of_window
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.encoder.text.windows import Window, split_ids
from colmodern.errors import CheckpointError, ConfigError, InputError
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.spans import Bounds

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class TextTokenizer:
    """A transformers tokenizer plus the rules of EncoderSettings."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: EncoderSettings,
        *,
        masks_first_piece: bool = False,
    ) -> None:
        """Look up markers, expansion token and skiplist.

        Args:
            tokenizer: A tokenizer of transformers.
            settings: The rules.
            masks_first_piece: Whether the skiplist holds, for a punctuation mark, the first id of
                the mark encoded alone, as in colbert-ai, rather than the mark's own id.

        Raises:
            CheckpointError: A marker is not a token of the vocabulary.
            ConfigError: There is no expansion token, or a length leaves no room for text.
        """
        self._tokenizer = tokenizer
        self.settings = settings
        self._masks_first_piece = masks_first_piece
        self._n_trailing = trailing_specials(tokenizer)
        self._markers = {
            "query": self._marker("query_marker", settings.query_marker),
            "document": self._marker("document_marker", settings.document_marker),
        }
        self._expansion_id = self._find_expansion_id()
        self._prompt_ids = self._leading_ids(settings.document_prompt)
        self._check_room("query")
        self._check_room("document")
        self._overlap = self._find_overlap()
        self.skiplist_ids = self._find_skiplist_ids()

    def with_settings(self, settings: EncoderSettings) -> TextTokenizer:
        """The same tokenizer under other rules."""
        return TextTokenizer(self._tokenizer, settings, masks_first_piece=self._masks_first_piece)

    def tokenize(
        self,
        texts: Sequence[str],
        role: Role,
        *,
        spans: bool = False,
        passages: bool = False,
        max_tokens: int | None = None,
    ) -> TokenizedTexts:
        """Tokenize texts, and cut or split them at the length limit of their role.

        Args:
            texts: (n_texts,) strings.
            role: "query" or "document".
            spans: Whether to tell which characters each token covers.
            passages: Whether each window of a split document is a document of its own.
            max_tokens: Tokens of a text that are read at most, before it is split.

        Raises:
            ConfigError: ``spans``, and the tokenizer does not know them.
        """
        settings = self.settings
        prompt = settings.query_prompt if role == "query" else settings.document_prompt
        limit = settings.query_length if role == "query" else settings.document_length
        if len(texts) == 0:  # transformers' tokenizers do not take an empty list
            empty = np.zeros(0, np.int64)
            offsets = offsets_of([])
            return TokenizedTexts([], empty, [], empty, offsets, [] if spans else None, passages)
        prepared = [self._prepare(prompt + text) for text in texts]
        full, bounds = self._ids_and_bounds(prepared, texts, prompt, spans=spans)
        marker = self._markers[role]
        room = limit - (marker is not None)
        full, bounds, cut = self._shortened(full, bounds, max_tokens, role)
        is_split = role == "document" and settings.overflow == "split"
        windows_of = partial(self._split, passages=passages) if is_split else self._cut
        split = [windows_of(text, text, room) for text in full]
        if not is_split:
            cut += np.array([max(0, len(text) - room) for text in full], dtype=np.int64)
        offsets = offsets_of([len(windows) for windows in split])
        marked = [self._mark(window, marker) for windows in split for window in windows]
        ids = [as_ids(window.ids) for window in marked]
        attended = np.array([len(window) for window in ids], dtype=np.int64)
        kept = [window.is_kept for window in marked]
        if role == "query" and settings.query_expansion:
            ids = [self._expand(text) for text in ids]
            kept = [np.ones(len(text), np.bool_) for text in ids]
            if settings.attend_to_expansion:
                attended = np.array([len(text) for text in ids], dtype=np.int64)
        if role == "document" or settings.skip_in_queries:
            kept = [
                mask & ~np.isin(window, self.skiplist_ids)
                for mask, window in zip(kept, ids, strict=True)
            ]
        if bounds is None:
            return TokenizedTexts(ids, attended, kept, cut, offsets, None, passages)
        lengths = iter(ids)  # with expansion tokens
        window_bounds = [
            bounds_of_window(
                own, self._mark(window, None if marker is None else -1).ids, len(next(lengths))
            )
            for text, own in zip(full, bounds, strict=True)
            for window in windows_of(list(range(len(text))), text, room)
        ]
        return TokenizedTexts(ids, attended, kept, cut, offsets, window_bounds, passages)

    def _ids_and_bounds(
        self, prepared: list[str], texts: Sequence[str], prompt: str, *, spans: bool
    ) -> tuple[list[list[int]], list[Bounds] | None]:
        """Token ids of prepared texts, and where their tokens are in the texts themselves."""
        if not spans:
            return self._ids_of(prepared), None
        if not getattr(self._tokenizer, "is_fast", False):
            raise ConfigError(
                "spans=True, but the checkpoint's tokenizer does not tell which characters a token "
                "covers; save it with a tokenizer.json, or leave spans out"
            )
        encoded = self._encoded(prepared, return_offsets_mapping=True)
        is_lowered = self.settings.lowercase
        bounds = [
            bounds_in_text(mapping, text=text, prompt=prompt, prepared=read, is_lowered=is_lowered)
            for mapping, text, read in zip(encoded["offset_mapping"], texts, prepared, strict=True)
        ]
        return encoded["input_ids"], bounds

    def _shortened(
        self, full: list[list[int]], bounds: list[Bounds] | None, most: int | None, role: Role
    ) -> tuple[list[list[int]], list[Bounds] | None, npt.NDArray[np.int64]]:
        """Texts and bounds cut to ``most`` tokens, and how many tokens each text lost.

        One token of the text itself always stays, beside its special tokens, marker and prompt.
        """
        cut = np.zeros(len(full), np.int64)
        if most is None:
            return full, bounds, cut
        n_fixed = self._n_fixed(role)
        room = max(most, n_fixed + 1) - (self._markers[role] is not None)
        positions = [self._cut(list(range(len(text))), text, room)[0].ids for text in full]
        cut += [len(text) - len(own) for text, own in zip(full, positions, strict=True)]
        if bounds is not None:
            bounds = [text[own] for text, own in zip(bounds, positions, strict=True)]
        return (
            [[text[i] for i in own] for text, own in zip(full, positions, strict=True)],
            bounds,
            cut,
        )

    def words(self, ids: npt.ArrayLike | None) -> list[str]:
        """The text of each token: to show, for example, which words matched.

        Args:
            ids: (n_tokens,) ids of the vocabulary, as TokenEmbeddings keep them.

        Returns:
            n_tokens strings without the white space around them; the vocabulary's own string for a
            token that is not text alone, as a byte of a character.

        Raises:
            InputError: There are no ids, as those of pooled embeddings.
        """
        if ids is None:
            raise InputError(
                "ids=None: pooled embeddings and those of other libraries have no token ids; pass "
                "those of an Encoder without pooling"
            )
        words = []
        for id_ in np.asarray(ids, np.int64).tolist():
            text = str(self._tokenizer.decode([id_])).strip()
            is_text = text and "\ufffd" not in text
            words.append(text if is_text else str(self._tokenizer.convert_ids_to_tokens(id_)))
        return words

    def _ids_of(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._encoded(texts)["input_ids"]
        return ids

    def _encoded(self, texts: list[str], **options: bool) -> BatchEncoding:
        return read_texts(
            self._tokenizer,
            texts,
            add_special_tokens=True,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **options,
        )

    def _prepare(self, text: str) -> str:
        if self.settings.strip_text:
            text = text.strip()
        return text.lower() if self.settings.lowercase else text

    def _cut(self, items: list[int], ids: list[int], room: int) -> list[Window]:
        """The one window of a text; items: its token ids, or the numbers of its tokens."""
        if len(ids) > room:
            tail = items[len(items) - self._n_trailing :]
            items = items[: room - len(tail)] + tail
        return [Window(items, np.ones(len(items), np.bool_))]

    def _split(
        self, items: list[int], ids: list[int], room: int, *, passages: bool
    ) -> list[Window]:
        """The windows of a text; items: as of ``_cut``."""
        # a prompt's last letters can share a token with the text's first letters
        pairs = zip(self._prompt_ids, ids, strict=False)
        head = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        tail = self._n_trailing
        lengths = {"head": head, "tail": tail, "length": room, "overlap": self._overlap}
        return split_ids(items, **lengths, are_passages=passages)

    def _mark(self, window: Window, marker: int | None) -> Window:
        if marker is None:
            return window
        ids, is_kept = window  # the marker goes where PyLate and colbert-ai put it
        # an empty text has no token if there are no special tokens
        first = is_kept[:1] if len(is_kept) else np.ones(1, np.bool_)
        return Window([*ids[:1], marker, *ids[1:]], np.concatenate([first, is_kept]))

    def _expand(self, text: Ids) -> Ids:
        target = self.settings.expansion_length or self.settings.query_length
        missing = max(0, target - len(text))
        return np.concatenate([text, as_ids([self._expansion_id] * missing)])

    def _leading_ids(self, prompt: str) -> list[int]:
        """Ids before every text: special tokens and the prompt."""
        [ids] = self._ids_of([self._prepare(prompt)])
        return ids[: len(ids) - self._n_trailing]

    def _check_room(self, role: Role) -> None:
        """Raise ConfigError where a length limit holds no token of a text."""
        settings = self.settings
        limit = settings.query_length if role == "query" else settings.document_length
        if (n_fixed := self._n_fixed(role)) >= limit:
            raise ConfigError(
                f"{role}_length={limit} leaves no room for text: special tokens, marker and "
                f"{role}_prompt take {n_fixed} tokens; raise it or shorten the prompt"
            )

    def _n_fixed(self, role: Role) -> int:
        """Tokens of every text that are not its own: special tokens, marker and prompt."""
        is_query = role == "query"
        prompt = self.settings.query_prompt if is_query else self.settings.document_prompt
        leading = self._leading_ids(prompt)
        return len(leading) + self._n_trailing + (self._markers[role] is not None)

    def _find_overlap(self) -> int:
        """Number of tokens that windows of documents share.

        Raises:
            ConfigError: The overlap fills a window.
        """
        settings = self.settings
        overlap = settings.document_length // 8 if settings.overlap is None else settings.overlap
        has_marker = self._markers["document"] is not None
        room = settings.document_length - has_marker - len(self._prompt_ids) - self._n_trailing
        if settings.overflow == "split" and overlap >= room:
            raise ConfigError(
                f"overlap={overlap}, but a window of document_length={settings.document_length} has "
                f"room for {room} tokens of text; lower overlap or raise document_length"
            )
        return overlap

    def _marker(self, field: str, marker: str | None) -> int | None:
        if marker is None:
            return None
        id_ = id_of_token(self._tokenizer, marker)
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
        tokenizer, token = self._tokenizer, self.settings.expansion_token
        id_ = tokenizer.mask_token_id if token is None else id_of_token(tokenizer, token)
        if id_ is None and token is None:
            id_ = tokenizer.eos_token_id  # decoders have no mask token; PyLate uses this one too
        if id_ is None:
            raise ConfigError(
                f"query_expansion is on, but expansion_token={token!r} is not a token of this "
                "vocabulary; name another, or set query_expansion to false"
            )
        return int(id_)

    @cached_property
    def masks_other_ids(self) -> bool:
        """Whether the skiplist has ids other than the marks' own, as with SentencePiece."""
        own = {id_of_token(self._tokenizer, word) for word in self.settings.skiplist}
        return set(self.skiplist_ids.tolist()) != own - {None}

    def _skipped_id(self, word: str) -> int | None:
        # colbert-ai 0.2.22, modeling/colbert.py takes raw_tokenizer.encode(symbol)[0] of each mark:
        # the lone space piece if SentencePiece puts one before the mark, UNK if it is unknown
        if self._masks_first_piece and word in PUNCTUATION:
            ids = read_texts(self._tokenizer, word, add_special_tokens=False)["input_ids"]
            return int(ids[0]) if ids else None
        return id_of_token(self._tokenizer, word)

    def _find_skiplist_ids(self) -> Ids:
        ids = {word: self._skipped_id(word) for word in self.settings.skiplist}
        if ignored := [word for word, id_ in ids.items() if id_ is None]:
            logger.warning(
                "skiplist words that are not one token of this vocabulary are ignored: %s",
                " ".join(map(repr, ignored)),
            )
        return as_ids(sorted({id_ for id_ in ids.values() if id_ is not None}))
