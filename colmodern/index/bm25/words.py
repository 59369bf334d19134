"""Texts to the words that BM25 counts: split, lowercased, without stop words, stemmed."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.optional import require

EXTRA = "bm25"
TOKEN_PATTERN = r"(?u)\b\w\w+\b"
STEMMER = "porter"
STOP_WORDS = "english"
_MOST_KNOWN = 1 << 20  # words whose stems are remembered; bounds the memory


def load_bm25s() -> Any:
    """The library; raises MissingExtraError without the extra bm25."""
    bm25s = require("bm25s", extra=EXTRA)
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs each step
    return bm25s


@dataclass(frozen=True)
class WordSettings:
    """How a text becomes words.

    Attributes:
        token_pattern: Regular expression of a word in lowercased text; the first group counts where
            there is one.
        stop_words: A language whose list bm25s has, words, or None to keep all. The list of
            English is Lucene's 33 words.
        stemmer: A Snowball stemmer, as "porter", "english" or "german", or None.
    """

    token_pattern: str = TOKEN_PATTERN
    stop_words: str | tuple[str, ...] | None = STOP_WORDS
    stemmer: str | None = STEMMER

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


class Analyzer:
    """Splits texts into words by settings; a word is stemmed once.

    Raises:
        InputError: The pattern is no regular expression with at most one group, or there is no such
            stemmer or list of stop words.
        MissingExtraError: bm25s, or PyStemmer for a stemmer, is not installed.
    """

    def __init__(self, settings: WordSettings) -> None:
        self.settings = settings
        self._split = _pattern(settings.token_pattern).findall
        self._stop_words = frozenset(_stop_words(settings.stop_words))
        self._stem = None if settings.stemmer is None else _stemmer(settings.stemmer)
        self._words: dict[str, str | None] = {}  # as written -> as counted; None: a stop word

    def words(self, text: str) -> list[str]:
        """The words of a text in their order, repeated ones too."""
        known, words = self._words, []
        for written in self._split(text.lower()):
            if written in known:
                word = known[written]
            else:
                word = self._counted(written)
                if len(known) < _MOST_KNOWN:
                    known[written] = word
            if word is not None:
                words.append(word)
        return words

    def _counted(self, written: str) -> str | None:
        if not written or written in self._stop_words:
            return None
        return written if self._stem is None else str(self._stem(written))


def _pattern(text: object) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)  # type: ignore[call-overload]
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise InputError(
            f"token_pattern={shown(text)} is not a regular expression ({error}); "
            f"the usual one is {TOKEN_PATTERN}"
        ) from error
    if not isinstance(text, str) or pattern.groups > 1:
        raise InputError(
            f"token_pattern={shown(text)} is not a text with at most one group; write other groups "
            "as (?:...)"
        )
    checked: re.Pattern[str] = pattern
    return checked


def _stop_words(value: object) -> Sequence[str]:
    if value is None:
        return ()
    if isinstance(value, str):
        bm25s = load_bm25s()
        try:
            words: Sequence[str] = bm25s.tokenization.Tokenizer(stopwords=value).stopwords
        except ValueError as error:
            raise InputError(
                f"stop_words={shown(value)}: bm25s has no such list; name another language, as "
                "english or german, give a list of words, or None"
            ) from error
        return words
    if not isinstance(value, Sequence) or not all(isinstance(word, str) for word in value):
        raise InputError(f"stop_words={shown(value)}; pass a language, a list of words, or None")
    return value


def _stemmer(name: object) -> Any:
    library = require("Stemmer", extra=EXTRA)
    names = library.algorithms()
    if name not in names:
        raise InputError(
            f"stemmer={shown(name)}; choose one of {', '.join(names)}, or None for no stemming"
        )
    return library.Stemmer(name).stemWord
