"""The built-in collection: the standard library of the running Python.

Known-item search, not human judgments: the query is the first sentence of a docstring, and the
only relevant document is the function, class or method that the sentence was taken from. Sources
are parsed, never imported, so no code of the library runs.
"""

from __future__ import annotations

import ast
import platform
import re
import sysconfig
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from colmodern.datasets.memory import MemoryCorpus
from colmodern.types import Dataset, Document

# third-party code, tests and programs that are only installed beside the library
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}
_NOT_LIBRARY |= {"turtledemo", "ensurepip", "__pycache__", "pydoc_data", "__phello__"}
_MIN_QUERY_WORDS = 4
_MIN_REST_CHARS = 80  # a docstring with less beyond its first sentence is joined by the source
_MAX_SOURCE_LINES = 60

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class _Item(NamedTuple):
    doc_id: str
    first_sentence: str
    body: str


@cache
def load_stdlib() -> Dataset:
    """The standard library's public functions, classes and methods that have a docstring.

    Deterministic for a Python version and its installation. A first sentence that several
    items share, or of under four words, makes no query; its items stay as documents.
    """
    items = list(_items())
    shared = Counter(item.first_sentence.lower() for item in items)
    queries = {
        item.doc_id: item.first_sentence
        for item in items
        if shared[item.first_sentence.lower()] == 1
        and len(item.first_sentence.split()) >= _MIN_QUERY_WORDS
        and item.first_sentence not in item.body  # a few are their own signature
    }
    documents = [Document(item.doc_id, item.body) for item in items]
    return Dataset(
        name="stdlib",
        description=(
            f"the standard library of Python {platform.python_version()}: find the function, class "
            "or method that a sentence describes (known-item search, not human judgments)"
        ),
        corpus=MemoryCorpus(documents),
        queries=queries,
        qrels={query_id: {query_id: 1} for query_id in queries},
    )


def _items() -> Iterator[_Item]:
    root = Path(sysconfig.get_paths()["stdlib"])
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        levels = path.relative_to(root).with_suffix("").parts
        if _NOT_LIBRARY & set(levels) or any(_is_private(level) for level in levels):
            continue
        try:
            source = path.read_text("utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in old modules
                tree = ast.parse(source)
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue  # templates and deliberately broken files
        module = ".".join(level for level in levels if level != "__init__")
        lines = source.splitlines()
        for name, node in _definitions(tree, module):
            if name not in seen and (item := _item(name, node, lines)):
                seen.add(name)
                yield item


def _definitions(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, _Definition]]:
    for child in node.body:
        if isinstance(child, _Definition) and not _is_private(child.name):
            name = f"{prefix}.{child.name}"
            yield name, child
            if isinstance(child, ast.ClassDef):
                yield from _definitions(child, name)


def _item(name: str, node: _Definition, lines: list[str]) -> _Item | None:
    docstring = ast.get_docstring(node)
    if not docstring or not docstring.strip():
        return None
    sentence, rest = split_first_sentence(docstring)
    if len(rest) < _MIN_REST_CHARS:
        rest = "\n".join(block for block in (rest, _code(node, lines)) if block)
    return _Item(name, sentence, f"{name}{_signature(node)}\n{_without(sentence, rest)}")


def split_first_sentence(docstring: str) -> tuple[str, str]:
    """The first sentence on one line, and what follows it."""
    text = docstring.strip()
    # a sentence ends at a stop before white space, or with its paragraph
    end = re.search(r"(?<=[.!?])\s|\n\s*\n", text)
    stop = end.start() if end else len(text)
    return " ".join(text[:stop].split()), text[stop:].strip()


def _without(sentence: str, text: str) -> str:
    """The text without any repetition of the sentence, which would give the answer away."""
    words = r"\s+".join(map(re.escape, sentence.split()))
    return re.sub(words, "", text)


def _signature(node: _Definition) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"({bases})" if bases else ""
    return f"({ast.unparse(node.args)})"


def _code(node: _Definition, lines: list[str]) -> str:
    """Source of the body after the docstring."""
    statements = node.body[1:]
    if not statements:
        return ""
    code = lines[statements[0].lineno - 1 : statements[-1].end_lineno]
    return textwrap.dedent("\n".join(code[:_MAX_SOURCE_LINES]))


def _is_private(name: str) -> bool:
    return name.startswith("_") and name != "__init__"
