"""Counts of how the package is built and named: sizes, arguments, nesting, words, imports.

    python experiments/structure/count.py [ROOT] [--words] [--wide] [--csv]

ROOT is a checkout of the repository (default: this one). --words lists the names to
change by file, --wide the functions of more than 8 parameters, and --csv appends the figures as a row to
experiments/results/structure.csv of this checkout. The source is parsed and never imported.
"""

from __future__ import annotations

import ast
import csv
import statistics
import subprocess
from collections import defaultdict
from datetime import date
from pathlib import Path

import click
from functions import (
    docstring_lines,
    functions,
    n_comments,
    n_parameters,
    nesting,
    public_definitions,
)
from imports import circles, folder_circles, import_edges
from source import Function, Module, read_modules
from words import card_lines, count_words, hanging_comments, participle_classes

HERE = Path(__file__).resolve().parents[2]
RESULTS = HERE / "experiments" / "results" / "structure.csv"
WIDE = 8  # parameters; more make a function wide


def percentile(values: list[int], share: float) -> int:
    """The value below which a share of the values lies."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0


def figures(root: Path) -> dict[str, str]:
    """All figures of a checkout by name, in the order in which they are shown."""
    modules = read_modules(root)
    tests = read_modules(root, "tests")
    lines = [module.n_lines for module in modules]
    n_lines = sum(lines)
    defs = [node for module in modules for node in functions(module)]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node in defs]
    widths = [n_parameters(node) for node in defs]
    depths = [nesting(node) for node in defs]
    public = [node for module in modules for node in public_definitions(module.tree)]
    public_functions = [node for node in public if isinstance(node, Function)]
    documented = sum(ast.get_docstring(node) is not None for node in public)
    annotated = sum(node.returns is not None for node in public_functions)
    loads = [n for m in modules for n in m.nodes if isinstance(n, ast.Name | ast.Attribute)]
    edges, at_load = import_edges(modules), import_edges(modules, with_lazy=False)
    n_names, words = count_words(modules)
    text = "\n".join(module.text for module in modules)
    test_lines = sum(module.n_lines for module in tests)
    return {
        "files": f"{len(modules)}",
        "lines": f"{n_lines}",
        "module median/p90/max": (
            f"{statistics.median(lines):.0f}/{percentile(lines, 0.9)}/{max(lines)}"
        ),
        "modules > 250/400": f"{sum(n > 250 for n in lines)}/{sum(n > 400 for n in lines)}",
        "functions": f"{len(defs)}",
        "function median/p90/max": (
            f"{statistics.median(lengths):.0f}/{percentile(lengths, 0.9)}/{max(lengths)}"
        ),
        "functions > 40/80": f"{sum(n > 40 for n in lengths)}/{sum(n > 80 for n in lengths)}",
        "parameters p90/max": f"{percentile(widths, 0.9)}/{max(widths)}",
        "parameters > 5 %": f"{100 * sum(n > 5 for n in widths) / len(widths):.1f}",
        f"parameters > {WIDE}": f"{sum(n > WIDE for n in widths)}",
        "nesting median/p90/max": (
            f"{statistics.median(depths):.0f}/{percentile(depths, 0.9)}/{max(depths)}"
        ),
        "nesting >= 4": f"{sum(depth >= 4 for depth in depths)}",
        "docstring lines %": f"{100 * sum(map(docstring_lines, modules)) / n_lines:.1f}",
        "comments % of lines": f"{100 * sum(map(n_comments, modules)) / n_lines:.1f}",
        "public documented %": f"{100 * documented / len(public):.0f}",
        "returns annotated %": f"{100 * annotated / len(public_functions):.0f}",
        "Any": f"{sum((getattr(n, 'id', None) or getattr(n, 'attr', '')) == 'Any' for n in loads)}",
        "type: ignore": f"{text.count('type: ignore')}",
        "noqa": f"{text.count('# noqa')}",
        "import edges": f"{len(edges)}",
        "file circles at load/all": f"{len(circles(at_load))}/{len(circles(edges))}",
        "folder circles": f"{len(folder_circles(edges))}",
        "tests files": f"{len(tests)}",
        "tests lines": f"{test_lines}",
        "tests ratio": f"{test_lines / n_lines:.2f}",
        "names bound": f"{n_names}",
        "names from the list": f"{words.total()}",
        "names from the list %": f"{100 * words.total() / n_names:.2f}",
        "participle classes": f"{len(participle_classes(modules))}",
        "card lines": f"{len(card_lines(modules))}",
        "hanging comments": f"{len(hanging_comments(modules))}",
    }


def commit_of(root: Path) -> str:
    """Short name of the commit of a checkout; "+" marks changes on top of it."""
    git = ["git", "-C", str(root)]
    name = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True)
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    return name.stdout.strip() + ("+" if status.stdout.strip() else "")


def append_row(row: dict[str, str], path: Path = RESULTS) -> None:
    """Append to a CSV file, which begins with a line of column names."""
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def print_words(modules: list[Module]) -> None:
    """Print the words of WORDS by file, the file with the most first, and other names to change."""
    _, counts = count_words(modules)
    by_file = defaultdict(list)
    for (path, word), count in sorted(counts.items()):
        by_file[path].append((word, count))
    for path, words in sorted(by_file.items(), key=lambda item: -sum(n for _, n in item[1])):
        listed = ", ".join(f"{word} {count}" for word, count in words)
        print(f"{sum(n for _, n in words):5} {path}: {listed}")
    print("classes:", ", ".join(participle_classes(modules)))
    for line in card_lines(modules):
        print("card:", line)
    for line in hanging_comments(modules):
        print("hanging:", line)


@click.command()
@click.argument("root", default=HERE, type=click.Path(exists=True, path_type=Path))
@click.option("--words", is_flag=True, help="List the names to change, by file.")
@click.option("--wide", is_flag=True, help="List the functions of more than 8 parameters.")
@click.option("--csv", "to_csv", is_flag=True, help="Append a row to results/structure.csv.")
def main(root: Path, words: bool, wide: bool, to_csv: bool) -> None:
    """Count how the package is built and named."""
    root = root.resolve()
    modules = read_modules(root)
    row = figures(root)
    for name, value in row.items():
        print(f"{name:24} {value}")
    edges = import_edges(modules)
    for group in (*circles(edges), *folder_circles(edges)):
        print("circle:", " ".join(group))
    if wide:
        for module in modules:
            for node in functions(module):
                if n_parameters(node) > WIDE:
                    print(f"{n_parameters(node):5} {module.path}:{node.lineno} {node.name}")
    if words:
        print_words(modules)
    if to_csv:
        append_row({"date": date.today().isoformat(), "commit": commit_of(root), **row})


if __name__ == "__main__":
    main()
