"""Settings of how text becomes token ids and which tokens score, by checkpoint or caller."""

from __future__ import annotations

import logging
import math
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from colmodern.checks import shown, text_fault
from colmodern.errors import ConfigError
from colmodern.units import as_whole

logger = logging.getLogger(__name__)

Role = Literal["query", "document"]
ROLES: tuple[Role, ...] = ("query", "document")
PUNCTUATION = tuple(string.punctuation)
_LARGEST = 1_000_000_000  # limit of every number here: the tokenizer counts in 32 bits
OVERFLOWS = ("truncate", "split")  # cut a long document, or encode it in windows


@dataclass(frozen=True)
class EncoderSettings:
    """The text side of an encoder; every field can be overridden by name.

    Lengths are in tokens and count markers and special tokens.
    """

    query_length: int  # longer queries are cut
    document_length: int  # longer documents are cut or split
    query_marker: str | None = None  # token after the leading special token, such as "[Q] "
    document_marker: str | None = None
    query_prompt: str = ""  # text before every query
    document_prompt: str = ""
    query_expansion: bool = False  # fill short queries up with expansion tokens, which score
    expansion_length: int | None = None  # tokens to fill up to; None: query_length
    expansion_token: str | None = None  # None: the tokenizer's mask token
    attend_to_expansion: bool = False  # whether real tokens attend to expansion tokens
    skiplist: tuple[str, ...] = ()  # tokens of documents that are encoded but do not score
    skip_in_queries: bool = False  # apply the skiplist to queries too
    strip_text: bool = True  # remove white space around a text
    lowercase: bool = False  # lowercase a text before it is tokenized
    overflow: str = "truncate"  # treatment of longer documents, one of OVERFLOWS
    overlap: int | None = None  # tokens that windows share; None: an eighth of document_length
    pool_factor: float = 1  # tokens of a document for each row that pooling keeps
    protected_tokens: int = 1  # first rows of a document that are not pooled

    def __post_init__(self) -> None:
        """Raise ConfigError for a value of the wrong type, from JSON or a caller."""
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            is_right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
            if not is_right:
                expected = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
                raise ConfigError(f"{name}={shown(value)} is not of type {expected}")
            if isinstance(value, str) and (fault := text_fault(value)):
                raise ConfigError(f"{name}={shown(value)} {fault}; take it out")
            if isinstance(value, int | float) and abs(value) > _LARGEST:
                raise ConfigError(f"{name}={shown(value)}; give at most {_LARGEST:,}")
        if not all(isinstance(word, str) and not text_fault(word) for word in self.skiplist):
            raise ConfigError(f"skiplist={shown(self.skiplist)}; give a list of words")
        object.__setattr__(self, "pool_factor", as_whole(self.pool_factor))

    def override(self, changes: Mapping[str, Any]) -> EncoderSettings:
        """A copy with other values in the fields that ``changes`` names and does not set to None.

        Args:
            changes: Field -> value. An empty marker stands for no marker.

        Raises:
            ConfigError: A field is unknown or a value is of the wrong type.
        """
        names = {field.name for field in fields(self)}
        if unknown := sorted(set(changes) - names):
            raise ConfigError(
                f"unknown encoder setting {unknown[0]!r}; known are {', '.join(sorted(names))}"
            )
        values = {key: value for key, value in changes.items() if value is not None}
        for marker in ("query_marker", "document_marker"):
            if isinstance(values.get(marker), str) and not values[marker]:
                values[marker] = None  # null keeps the checkpoint's marker, "" removes it
        if isinstance(values.get("skiplist"), list):
            values["skiplist"] = tuple(values["skiplist"])
        return replace(self, **values)

    def as_overrides(self) -> dict[str, Any]:
        """Plain values that reproduce these settings when passed to ``override``."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}
        for marker in ("query_marker", "document_marker"):
            values[marker] = values[marker] or ""
        return values

    def clipped(self, *, longest: int | None) -> EncoderSettings:
        """A copy whose lengths are at most the backbone's limit, with a warning for each change.

        For the settings of a checkpoint: a caller's own settings raise instead, in ``check``.

        Args:
            longest: Tokens that the backbone takes, None for no limit.
        """
        names = ("query_length", "document_length", "expansion_length")
        lengths: dict[str, int | None] = {name: getattr(self, name) for name in names}
        high = {k: v for k, v in lengths.items() if longest and v is not None and v > longest}
        for name, value in high.items():
            logger.warning(
                "the checkpoint's %s=%d is lowered to its backbone's %d", name, value, longest
            )
        return replace(self, **dict.fromkeys(high, longest))

    def check(self, *, longest: int | None) -> None:
        """Check that every value is in range.

        Args:
            longest: Tokens that the backbone takes, None for no limit.

        Raises:
            ConfigError: A value is out of range.
        """
        self._check_documents()
        expansion = self.expansion_length or self.query_length
        lengths = {
            "query_length": self.query_length,
            "document_length": self.document_length,
            "expansion_length": expansion,
        }
        for name, value in lengths.items():
            if value < 4:
                raise ConfigError(f"{name}={value} leaves no room for text; give at least 4 tokens")
            if longest is not None and value > longest:
                raise ConfigError(
                    f"{name}={value} is more than the {longest} tokens this backbone takes; "
                    f"give {longest} or less"
                )
        if expansion > self.query_length:
            raise ConfigError(
                f"expansion_length={expansion} is above query_length={self.query_length}; "
                "lower it or raise query_length"
            )

    def _check_documents(self) -> None:
        if self.overflow not in OVERFLOWS:
            raise ConfigError(
                f"overflow={shown(self.overflow)} is not one of {', '.join(OVERFLOWS)}"
            )
        for name, least in (("overlap", 0), ("pool_factor", 1), ("protected_tokens", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ConfigError(f"{name}={value}; give at least {least}")

    def of(self, role: Role) -> dict[str, Any]:
        """Names and values of the fields that change how texts of this role are encoded."""
        other = "document_" if role == "query" else "query_"
        settings = {k: v for k, v in asdict(self).items() if not k.startswith(other)}
        if role == "document":
            unused = ["expansion_length", "expansion_token", "attend_to_expansion"]
            unused += ["overflow", "overlap"] if self.overflow == "truncate" else []
            unused += ["pool_factor", "protected_tokens"] if self.pool_factor == 1 else []
        else:
            unused = ["overflow", "overlap", "pool_factor", "protected_tokens"]
        return {name: value for name, value in settings.items() if name not in unused}


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("query_length", "document_length"), (int,)),
    **dict.fromkeys(("expansion_length", "overlap"), (int, type(None))),
    "pool_factor": (int, float),
    "protected_tokens": (int,),
    **dict.fromkeys(("query_marker", "document_marker", "expansion_token"), (str, type(None))),
    **dict.fromkeys(("query_prompt", "document_prompt", "overflow"), (str,)),
    **dict.fromkeys(("query_expansion", "attend_to_expansion", "skip_in_queries"), (bool,)),
    **dict.fromkeys(("strip_text", "lowercase"), (bool,)),
    "skiplist": (tuple,),
}
