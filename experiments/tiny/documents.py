"""Prose of the documentation in unpacked packages: HTML, PDF (by pdftotext), info, and dictionaries of dictd.

Texts are runs of neighbouring paragraphs of one section. What is not English prose (code, formulas, lists of
names, menus) is left out, and so are lists of frequent questions, of which the model is measured on some.
Of packages, texts on physics and engineering are kept.
"""

from __future__ import annotations

import bz2
import gzip
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

_LONGEST = 150  # words of a text
_SHORTEST = 45
_FEWEST = 12  # words of a paragraph that is prose
_SENTENCE = (8, 28)  # words of a sentence that can ask for the rest of its text
_OF_A_PACKAGE = 800  # texts of its pages, and of its books
_BLOCKS = {"p", "li", "dt", "dd", "td", "blockquote"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5"}
_SKIPPED = {"script", "style", "pre", "code", "nav", "header", "footer", "math", "title"}
_COMMON = re.compile(
    r"the|of|and|to|a|in|is|that|for|it|as|with|are|be|on|by|this|an|which|or|from|at|can|not|if|has"
    r"|its|have|will|one|may|these|into|when|between|used|each|than|more|other",
    re.I,
)
_PHYSICAL = re.compile(
    r"\b(?:flow|fluid|pressure|temperature|heat|thermal|veloc|speed|accelerat|force|stress|strain|turbul"
    r"|viscos|wave|radiation|energy|magnet|electri|voltage|current|frequenc|antenna|orbit|star|planet"
    r"|gravit|mass|dens|particle|molecul|atom|crystal|plasma|nucle|friction|elastic|plastic|shear|beam"
    r"|shell|plate|buckl|vibrat|damp|oscillat|combust|gas|liquid|steam|nozzle|pump|pipe|valve|wing"
    r"|aircraft|aero|atmosph|climat|ocean|sound|acoust|optic|light|laser|diffus|convect|conduct"
    r"|boundary layer|chemical|reaction|concentrat|solid|material|metal|circuit|signal|sensor)"
)
_SUCH_WORDS = 4
_LEFT_OUT = re.compile(
    r"faq|changelog|copyright|licen[cs]e|genindex|release|news|/man/|_source\.|/_modules/|/generated/"
    r"|_8[chf]|/class|/struct|/func\w*_|hierarchy|members",
    re.I,
)
_NUMBERED = re.compile(r"^(?:chapter |appendix )?[0-9A-Z](?:\.\d+)*\.?\s+([A-Z][^.=]{3,80})$", re.I)
_LONGEST_ENTRY = 60
_FIELDS = re.compile(
    r"\((?:Phys|Physics|Mech|Mach|Engin|Engineering|A[eë]ronautics|Chem|Elec|Math|Geom|Astron"
    r"|Meteor|Opt|Optics|Acoustics|Thermodynamics|Hydraul|Hydrodynamics|Geol|Metal|Metallurgy|Biol"
    r"|Teleg|Stat|Computers)\.?\)"
)


def read_packages(folder: Path) -> Iterator[tuple[str, str | None]]:
    """(text, what asks for it) of all packages, each a folder; no text twice.

    Half of the texts are asked for by their heading, the others by a sentence taken out of them.
    """
    seen: set[str] = set()
    for package in sorted(path for path in folder.iterdir() if path.is_dir()):
        for read in (read_pages, read_books):
            texts = []
            for heading, text in _runs(read(package), seen):
                ask = heading if heading and len(heading.split()) > 1 else None
                if len(texts) % 2 or not ask:
                    ask, text = _take_sentence(text, ask)
                if len(_PHYSICAL.findall(text)) >= _SUCH_WORDS:
                    texts.append((text, ask))
            step = max(1.0, len(texts) / _OF_A_PACKAGE)
            yield from (texts[int(i * step)] for i in range(int(len(texts) / step)))


def read_dictionary(path: Path) -> Iterator[str]:
    """Entries of a dictionary of dictd (dict-gcide) that name a science or a trade."""
    entry: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.startswith(" ") and line.strip() and entry:
                if text := _entry(" ".join(entry)):
                    yield text
                entry = []
            entry.append(line.strip())


def read_pages(package: Path) -> Iterator[tuple[str | None, str]]:
    """(heading, paragraph) of all HTML of a package, in order."""
    for name, data in _files(package):
        if name.endswith((".html", ".htm", ".xhtml", ".cache")):
            yield from _read_html(data().decode("utf-8", "replace"))


def read_books(package: Path) -> Iterator[tuple[str | None, str]]:
    """(heading, paragraph) of all PDF and info of a package, in order."""
    for name, data in _files(package):
        if name.endswith(".pdf"):
            yield from _read_plain(_pdf_to_text(data()))
        elif re.search(r"\.info(-\d+)?$", name):
            yield from _read_plain(data())


def _files(package: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(name, what reads the file) of all files that may hold documentation."""
    for path in sorted(path for path in package.rglob("*") if path.is_file()):
        if not _LEFT_OUT.search(str(path.relative_to(package))):
            name = path.name.removesuffix(".gz").removesuffix(".bz2")
            yield name, partial(_bytes, path)


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph is English sentences rather than code, formulas or names."""
    words = paragraph.split()
    if len(words) < _FEWEST:
        return False
    plain = [
        word for word in words if re.fullmatch(r"[(\"'“]?[A-Za-z][a-z’'-]*[.,;:)\"'”!?]*", word)
    ]
    n_common = sum(_COMMON.fullmatch(word) is not None for word in words)
    return len(plain) >= 0.75 * len(words) and n_common >= 0.2 * len(words)


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix)
    return unpack(data) if unpack else data


def _runs(
    paragraphs: Iterable[tuple[str | None, str]], seen: set[str]
) -> Iterator[tuple[str | None, str]]:
    """Neighbouring paragraphs of one heading that are prose, joined."""
    run: list[str] = []
    subject: str | None = None
    for heading, paragraph in paragraphs:
        words = paragraph.split()
        key = " ".join(words[:12]).lower()
        if not is_prose(paragraph) or key in seen:
            continue
        seen.add(key)
        if run and (heading != subject or len(run) + len(words) > _LONGEST):
            if len(run) >= _SHORTEST:
                yield subject, " ".join(run)
            run = []
        subject = heading
        run += words[:_LONGEST]
    if len(run) >= _SHORTEST:
        yield subject, " ".join(run)


def _take_sentence(text: str, ask: str | None) -> tuple[str | None, str]:
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    low, high = _SENTENCE
    fitting = [i for i, sentence in enumerate(sentences) if low <= len(sentence.split()) <= high]
    if len(sentences) < 3 or not fitting:
        return ask, text
    middle = fitting[len(fitting) // 2]
    rest = sentences[:middle] + sentences[middle + 1 :]
    return sentences[middle].rstrip("."), " ".join(rest)


def _pdf_to_text(data: bytes) -> bytes:
    command = ["pdftotext", "-q", "-", "-"]
    run = subprocess.run(command, input=data, capture_output=True, timeout=300, check=False)
    return run.stdout


def _read_plain(data: bytes) -> Iterator[tuple[str | None, str]]:
    """Blocks between blank lines; one that is a number and a title is a heading."""
    heading = None
    for block in re.split(r"\n\s*\n|\f", data.decode("utf-8", "replace")):
        joined = re.sub(r"(\w)-\n(\w)", r"\1\2", re.sub(r"[=*.-]{4,}", "", block))
        text = " ".join(joined.split())
        if texts := _NUMBERED.match(text):
            heading = texts[1].strip()
        elif text:
            yield heading, text


def _read_html(page: str) -> Iterator[tuple[str | None, str]]:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    yield from reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str | None, str]] = []
        self._heading: str | None = None
        self._words: list[str] = []
        self._in_heading, self._skipped = False, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skipped += 1
        if tag in _BLOCKS or tag in _HEADINGS:
            self._end_block()
            self._in_heading = tag in _HEADINGS

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._skipped = max(0, self._skipped - 1)
        if tag in _BLOCKS or tag in _HEADINGS:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._words.append(data)

    def _end_block(self) -> None:
        text = " ".join("".join(self._words).replace("¶", "").split())
        self._words = []
        if text and self._in_heading:
            self._heading = re.sub(r"^[\dA-Z]?[\d.]*\s+", "", text)[:100]
        elif text:
            self.found.append((self._heading, text))
        self._in_heading = False


def _entry(text: str) -> str | None:
    """An entry without pronunciation, sources and marks of links; None without a field."""
    if not _FIELDS.search(text):
        return None
    text = re.sub(r"\\[^\\]*\\", "", text)
    text = re.sub(r"\[[^\]]*\]|--[A-Z][\w. ]*\.", " ", text)
    text = re.sub(r"\([^)]*\[[^)]*\)", " ", text).replace("{", "").replace("}", "")
    words = text.split()
    return " ".join(words[:_LONGEST_ENTRY]) if len(words) >= _FEWEST else None
