"""Imports point down the table of packages, and the light packages stay light."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "colmodern"
MOST_ANY = 500  # uses of Any in the package

BASE = {
    "arguments",
    "checks",
    "disk",
    "errors",
    "files",
    "fusion",
    "nested",
    "notebook",
    "notebook_progress",
    "optional",
    "partial",
    "passages",
    "progress",
    "reading",
    "sealed",
}
BASE |= {"progress_bar", "threads", "types", "units", "writer_lock"}
# package -> the packages it may import; itself is always allowed
MAY_IMPORT = {
    **{name: {"errors", "types"} for name in BASE},
    "notebook": set(),
    "types": {"notebook"},
    "arguments": {"checks", "errors"},
    "errors": {"checks"},
    "units": {"checks", "errors"},
    "files": {"disk", "errors", "reading", "types"},
    "fusion": {"arguments", "checks", "errors", "partial", "types"},
    "passages": {"checks", "errors", "types"},
    "reading": {"disk", "errors", "types"},
    "sealed": {"errors", "files", "types"},
    "writer_lock": {"disk", "errors", "files", "types"},
    "progress": {"errors", "notebook", "notebook_progress", "progress_bar", "types"},
    "config": BASE,
    "ragged": BASE,
    "kernels": BASE | {"ragged"},
    "codecs": BASE | {"ragged", "kernels"},
    "environment": {"checks"},
    "encoder": BASE | {"ragged", "kernels"},
    "encoding": BASE | {"environment", "ragged", "kernels", "encoder"},
    "datasets": BASE | {"config"},
    "evaluation": BASE,
    "report": BASE | {"evaluation"},
    "index": BASE | {"ragged", "kernels", "codecs"},
    "rerank": BASE | {"ragged", "encoder", "kernels", "index"},
    "token_words": BASE | {"encoder", "index"},
}
MAY_IMPORT["collection"] = set(MAY_IMPORT) - {"config", "datasets", "evaluation", "report"}
MAY_IMPORT["cluster"] = BASE | {"config", "ragged", "encoder", "encoding", "index"}
MAY_IMPORT["pipeline"] = set(MAY_IMPORT)
MAY_IMPORT["service"] = set(MAY_IMPORT)
MAY_IMPORT["training"] = set(MAY_IMPORT) - {"service"}
MAY_IMPORT["integrations"] = set(MAY_IMPORT) - {"training"}
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"cli"}
NO_TORCH = ("config", "datasets", "evaluation", "ragged", "report", *BASE)


def imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules.add(node.module or "")
    return modules


def package_of(path: Path) -> str:
    levels = path.relative_to(ROOT).with_suffix("").parts
    return levels[0]


FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_points_up(path: Path) -> None:
    package = package_of(path)
    for module in imports(path):
        if module.startswith("colmodern."):
            other = module.split(".")[1]
            assert other == package or other in MAY_IMPORT[package], f"{package} imports {module}"
        if package in NO_TORCH:
            assert module.split(".")[0] not in {"torch", "transformers"}, (
                f"{package} imports {module}"
            )


def module_of(path: Path) -> str:
    names = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file names in its imports, also in functions and for types."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= submodules & MODULES.keys() or {node.module or ""}
    return modules & MODULES.keys()


def neighbours(package: str) -> dict[str, set[str]]:
    """The files and folders of a package, each with those that it imports."""
    arrows: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if not module.startswith(f"{package}."):
            continue
        source = module.split(".")[package.count(".") + 1]
        for target in imported_modules(path):
            if target.startswith(f"{package}."):
                arrows.setdefault(source, set()).add(target.split(".")[package.count(".") + 1])
    return {name: targets - {name} for name, targets in arrows.items()}


def reached(arrows: dict[str, set[str]], start: str) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        for name in arrows.get(waiting.pop(), set()) - found:
            found.add(name)
            waiting.append(name)
    return found


@pytest.mark.parametrize(
    "package", [module for module, path in MODULES.items() if path.name == "__init__.py"]
)
def test_no_folder_is_in_a_circle(package: str) -> None:
    """A folder is below or above its neighbours: what it imports never leads back to it."""
    arrows = neighbours(package)
    for name in arrows:
        module = MODULES.get(f"{package}.{name}")
        if module is not None and module.name == "__init__.py":
            assert name not in reached(arrows, name), f"{package}.{name} leads back to itself"


def test_files_and_functions_stay_readable() -> None:
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 80, f"{path}: {node.name}"


def test_few_types_are_any() -> None:
    """Where a type is Any, mypy checks nothing; experiments/structure/count.py counts the same."""
    uses = {
        str(path.relative_to(ROOT)): sum(
            (isinstance(node, ast.Name) and node.id == "Any")
            or (isinstance(node, ast.Attribute) and node.attr == "Any")
            for node in ast.walk(ast.parse(path.read_text()))
        )
        for path in ROOT.rglob("*.py")
    }
    most = sorted(uses.items(), key=lambda item: -item[1])[:10]
    assert sum(uses.values()) < MOST_ANY, f"say more in types; most are in {most}"


def test_every_folder_with_modules_is_a_package() -> None:
    """Wheels carry packages alone; without an __init__.py a folder works here and is not installed."""
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").is_file(), folder


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
        assert "print" not in names, path
        if package_of(path) != "cli":
            assert "exit" not in names, path
