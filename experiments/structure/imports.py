"""Who imports whom, and in circles."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from source import Function, Module


def _imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Import statements with whether they run later than the module; those for types only are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _imports(child, lazy or isinstance(child, Function))


def import_edges(modules: list[Module], with_lazy: bool = True) -> set[tuple[str, str]]:
    """Pairs of modules of the package of which the first imports the second."""
    known = {module.name for module in modules}
    edges = set()
    for module in modules:
        targets = set()
        for node, lazy in _imports(module.tree):
            if lazy and not with_lazy:
                continue
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= {name if name in known else node.module for name in names}
        edges |= {(module.name, target) for target in targets & known if target != module.name}
    return edges


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of names that reach each other: the strongly connected components of two and more."""
    follow = defaultdict(set)
    for source, target in edges:
        follow[source].add(target)

    def reach(start: str) -> set[str]:
        seen, stack = set(), [start]
        while stack:
            for target in follow.get(stack.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return seen

    reached = {name: reach(name) for name in list(follow)}
    groups = {
        frozenset(other for other in reached[name] if name in reached.get(other, ()))
        for name in reached
        if name in reached[name]
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def folder_circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Circles between neighbours: in each folder, between its files and its folders as wholes."""
    by_folder = defaultdict(set)
    for source, target in edges:
        left, right = source.split("."), target.split(".")
        shared = next(
            (i for i, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]),
            min(len(left), len(right)),
        )
        if shared < min(len(left), len(right)):  # else one of them is the other's package
            ends = ".".join(left[: shared + 1]), ".".join(right[: shared + 1])
            by_folder[".".join(left[:shared])].add(ends)
    return sorted(group for folder in by_folder.values() for group in circles(folder))
