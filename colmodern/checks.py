"""Rules for ids, texts, grades and scores, the same at every border."""

from __future__ import annotations

import math
import numbers
import re
import reprlib
from typing import Any

MAX_GRADE = 1_000_000  # trec_eval reserves memory for every grade up to the highest
_BEYOND = f"is beyond {MAX_GRADE:,}, the highest grade that measures take"
_SHOWN = 100  # characters of a value in a message

_GRADE = re.compile(r"[+-]?0*(\d+)(\.0*)?", re.ASCII)
_BREAKS_A_LINE = re.compile(r"[\t\n\v\f\r ]")  # separates columns for trec_eval
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_ID = re.compile("[\0\t\n\v\f\r \ud800-\udfff]")


# C0 and C1 controls, marks that turn the direction of text, line separators, halves of surrogates
_UNSAFE = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINE = re.compile(f"[{_UNSAFE}]")
_IN_TEXT = re.compile(rf"(?![\n\t])[{_UNSAFE}]")
_NEW_LINE = re.compile(r"\s*\n\s*")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def shown(value: object, most: int = _SHOWN) -> str:
    """A value as one short line for a message, whatever its class does in ``repr``."""
    short = reprlib.Repr()
    # longer than fits, so that what is cut here is cut again below, where the cut is marked
    short.maxstring = short.maxother = short.maxlong = 3 * most
    short.maxlist = short.maxtuple = short.maxset = short.maxfrozenset = short.maxdict = most // 4
    try:
        text = short.repr(value)
    except Exception:  # an integer of thousands of digits; whatever a foreign class raises
        return f"a value of type {type(value).__name__}"
    text = visible(_NEW_LINE.sub(" ", text))
    return text if len(text) <= most else f"{text[:most]}…"


def visible(text: object, *, lines: bool = False) -> str:
    r"""Text with control characters escaped (``\x1b``), so that a terminal does not act on them.

    Args:
        text: anything that is printed; paths and errors too.
        lines: whether the text may have several lines and tabs, as a message may; a cell may not.

    Returns:
        The text without controls, direction marks and halves of surrogates.
    """
    return (_IN_TEXT if lines else _IN_LINE).sub(_escape, str(text))


def visible_json(text: str) -> str:
    """JSON with the same characters escaped the way JSON escapes them."""
    return _IN_TEXT.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def id_fault(value: object) -> str | None:
    """Why a value cannot be the id of a query or document; None if it can.

    Args:
        value: an id is text of any characters but NUL, ASCII white space and halves of surrogate
            pairs, so that TREC files and trec_eval read it back unchanged.
    """
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}; ids are text"
    if not value:
        return "is empty"
    if _NO_ID.search(value) is None:
        return None
    if _BREAKS_A_LINE.search(value):
        return "has white space, which TREC files cannot hold"
    return text_fault(value) or "has a NUL character, which ends text in evaluation tools"


def text_fault(value: str) -> str | None:
    """Why a text cannot be stored or shown; None if it can."""
    half = None if value.isascii() else _SURROGATE.search(value)
    if half is None:
        return None
    return f"has half a surrogate pair (U+{ord(half[0]):04X} at character {half.start()})"


def storable(path: str) -> str:
    """A path, or a word of a command, as valid UTF-8; other bytes are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def parse_grade(text: str) -> int:
    """The whole number in a judgment's last column: "2", "+1", "-1" or "1.0".

    Raises:
        ValueError: with a reason that follows the value in a message.
    """
    word = text.strip(" \t\v\f\r")
    match = _GRADE.fullmatch(word)
    if not match:
        raise ValueError("is not a whole number")
    if len(match[1]) > len(str(MAX_GRADE)):  # int refuses thousands of digits
        raise ValueError(_BEYOND)
    return _within_limit(int(word.partition(".")[0]))


def as_grade(value: Any) -> int:
    """The grade of a number, which may be NumPy's, 1.0 or True.

    Raises:
        ValueError: with a reason that follows the value in a message.
    """
    if isinstance(value, numbers.Integral) or type(value).__name__ in ("bool_", "bool"):
        return _within_limit(int(value))
    number: Any = value if isinstance(value, numbers.Real) else math.nan
    if not math.isfinite(number) or int(number) != number:
        raise ValueError("is not a whole number")
    return _within_limit(int(number))


def as_score(value: Any) -> float:
    """The score of a number; minus infinity is a score and ranks last.

    Raises:
        ValueError: with a reason that follows the value in a message.
    """
    if isinstance(value, str | bytes) or value is None:
        raise ValueError("is not a number")
    try:
        score = float(value)
    except OverflowError:
        raise ValueError("is beyond what a float holds") from None
    except Exception:  # a foreign class may raise anything there
        raise ValueError("is not a number") from None
    if math.isnan(score) or score == math.inf:
        raise ValueError("cannot be ranked; give a finite score")
    return score


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def _within_limit(grade: int) -> int:
    if abs(grade) > MAX_GRADE:
        raise ValueError(_BEYOND)
    return grade
