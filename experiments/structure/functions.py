"""Sizes of functions, and what is said about them."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

from source import Function, Module

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try)


def functions(module: Module) -> list[Function]:
    """All functions and methods of a module."""
    return [node for node in module.nodes if isinstance(node, Function)]


def n_parameters(function: Function) -> int:
    """Number of parameters, without self and cls."""
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    if names and names[0] in ("self", "cls"):
        names = names[1:]
    return len(names) + bool(arguments.vararg) + bool(arguments.kwarg)


def nesting(node: ast.AST) -> int:
    """Deepest nesting of blocks inside a function; functions inside it count for themselves."""
    depths = [
        nesting(child) + isinstance(child, BLOCKS)
        for child in ast.iter_child_nodes(node)
        if not isinstance(child, Function | ast.ClassDef)
    ]
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        depths[-1] -= 1  # elif is as deep as its if
    return max(depths, default=0)


def is_public(name: str) -> bool:
    """Whether a name is for others: no underscore in front."""
    return not name.startswith("_")


def public_definitions(tree: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Public functions and classes of a module, and the public methods of these classes."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and is_public(node.name):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def docstring_lines(module: Module) -> int:
    """Number of lines of all docstrings of a module."""
    total = 0
    for node in module.nodes:
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            total += (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return total


def n_comments(module: Module) -> int:
    """Number of comments of a module, those behind code too."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)
