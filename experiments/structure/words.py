"""Which words the names of a package are made of."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator

from source import Function, Module

# nouns that say nothing of what they hold
WORDS = {"rows", "found", "one", "place", "places", "part", "parts"}
WORDS |= {"chosen", "given", "asked", "about", "told", "some"}
_PARTICIPLE = re.compile(r"_?([A-Z][a-z]*ed|Told|Kept|Found|Left|Taken|Given|Chosen|Known|Made)")
_CARD = re.compile(r"(?<![a-z])cards?(?![a-z])|Cards?(?![a-z])", re.ASCII)
_HANGING = re.compile(
    r"\s*(of|that|which|as of)\b(?! (module|documents|kernels|segments))", re.IGNORECASE
)
_MODEL_CARD = re.compile(r"model[ _]cards?", re.IGNORECASE)


def bound_names(module: Module) -> Iterator[str]:
    """Every name that a module binds: variables, parameters, functions, classes, attributes."""
    for node in module.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, Function | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def count_words(modules: Iterable[Module]) -> tuple[int, Counter[tuple[str, str]]]:
    """Number of bound names, and how often each file binds each word of WORDS."""
    n_names, counts = 0, Counter[tuple[str, str]]()
    for module in modules:
        names = [name.lstrip("_") for name in bound_names(module)]
        n_names += len(names)
        counts.update((str(module.path), name) for name in names if name in WORDS)
    return n_names, counts


def participle_classes(modules: Iterable[Module]) -> list[str]:
    """Classes called by nothing but what happened to them, such as Kept."""
    nodes = (node for module in modules for node in module.nodes)
    names = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    return sorted(name for name in names if _PARTICIPLE.fullmatch(name))


def card_lines(modules: Iterable[Module]) -> list[str]:
    """Lines with the word "card" in files that say nowhere that they mean the model card."""
    lines = []
    for module in modules:
        if "model card" in module.text.lower():
            continue
        for number, line in enumerate(module.text.splitlines(), 1):
            if _CARD.search(_MODEL_CARD.sub("", line)):
                lines.append(f"{module.path}:{number}: {line.strip()}")
    return lines


def hanging_comments(modules: Iterable[Module]) -> list[str]:
    """Comments and docstrings that begin with a word that needs a noun before it, such as "of"."""
    lines = []
    for module in modules:
        text = module.text.splitlines()
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            row = token.start[0]
            is_first = row == 1 or not text[row - 2].lstrip().startswith("#")
            starts = is_first or not text[row - 1].lstrip().startswith("#")
            if token.type == tokenize.COMMENT and starts and _HANGING.match(token.string[1:]):
                lines.append(f"{module.path}:{row}: {text[row - 1].strip()}")
        for node in module.nodes:
            if isinstance(node, Function | ast.ClassDef | ast.Module):
                docstring = ast.get_docstring(node) or ""
                if _HANGING.match(docstring):
                    lines.append(f"{module.path}: {docstring.splitlines()[0]}")
    return lines
