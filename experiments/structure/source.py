"""Python files of a checkout, parsed and never imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of Python source, parsed."""

    path: Path  # from the root of the checkout
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Syntax tree of the file."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the syntax tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def n_lines(self) -> int:
        """Number of lines of the file."""
        return len(self.text.splitlines())

    @property
    def name(self) -> str:
        """Dotted name of the module; a package's is that of its folder."""
        levels = self.path.with_suffix("").parts
        return ".".join(levels[:-1] if levels[-1] == "__init__" else levels)


def read_modules(root: Path, folder: str = "colmodern") -> list[Module]:
    """All modules below a folder of a checkout, sorted by path."""
    paths = sorted((root / folder).rglob("*.py"))
    return [Module(path.relative_to(root), path.read_text()) for path in paths]
