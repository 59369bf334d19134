"""Where words begin and end, so that a passage is cut between words and never inside a letter."""

from __future__ import annotations

from unicodedata import category

_JOINER = "\u200d"
_INSIDE = frozenset("'’_" + _JOINER)  # between the letters of one word
_LONGEST = 64  # characters that a span grows to either side; longer runs are no words


def grown_to_words(start: int, end: int, text: str) -> tuple[int, int]:
    """The smallest span of whole words around one, without white space at its ends.

    Letters of scripts without spaces between words stand alone, and what is drawn as one sign (an
    accented letter, an emoji of several code points, a flag) stays together.

    Args:
        start: First character.
        end: After the last character.
        text: The text.

    Returns:
        Start and end; equal where the span has white space only.
    """
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start == end:
        return start, end
    leftmost, rightmost = max(0, start - _LONGEST), min(len(text), end + _LONGEST)
    while start > leftmost and _is_inside(text, start):
        start -= 1
    while end < rightmost and _is_inside(text, end):
        end += 1
    return start, end


def _is_inside(text: str, position: int) -> bool:
    """Whether a cut before ``position`` would be inside a word or a sign."""
    before, after = text[position - 1], text[position]
    if before.isspace():
        return False
    if before == _JOINER or after == _JOINER or category(after)[0] == "M" or _is_tone(after):
        return True
    if _is_flag_letter(before) and _is_flag_letter(after):
        return True
    return _is_of_word(before) and _is_of_word(after)


def _is_of_word(letter: str) -> bool:
    if letter in _INSIDE or category(letter)[0] == "M":
        return True
    return letter.isalnum() and not _stands_alone(letter)


def _stands_alone(letter: str) -> bool:
    """Whether a letter is of a script that is written without spaces."""
    code = ord(letter)
    return (
        0x0E00 <= code <= 0x0EFF  # Thai and Lao
        or 0x1000 <= code <= 0x109F  # Burmese
        or 0x1780 <= code <= 0x17FF  # Khmer
        or 0x3040 <= code <= 0x30FF  # Japanese syllables
        or 0x3400 <= code <= 0x9FFF  # Chinese characters
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def _is_tone(letter: str) -> bool:
    """Whether it is a skin tone of the emoji before it."""
    return 0x1F3FB <= ord(letter) <= 0x1F3FF


def _is_flag_letter(letter: str) -> bool:
    return 0x1F1E6 <= ord(letter) <= 0x1F1FF
