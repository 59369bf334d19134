from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import colmodern
from colmodern import errors

ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
PUBLIC = ERRORS | {
    "EmbeddingStore",
    "Encoder",
    "ExactIndex",
    "PlaidIndex",
    "Reranker",
    "ScoredDoc",
    "TokenEmbeddings",
    "evaluate",
    "load_dataset",
    "run_eval",
}


def test_the_public_names_are_these_and_load() -> None:
    assert set(colmodern.__all__) == PUBLIC == set(colmodern._HOMES)
    for name in PUBLIC:
        home = importlib.import_module(colmodern._HOMES[name])
        assert getattr(colmodern, name) is getattr(home, name)
        assert getattr(colmodern, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Colbert'"):
        colmodern.Colbert  # noqa: B018


def test_dir_offers_the_public_names() -> None:
    assert set(dir(colmodern)) >= PUBLIC


def test_type_checkers_see_every_public_name() -> None:
    """The names are loaded lazily, so only the block for type checkers declares them."""
    tree = ast.parse(Path(colmodern.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.name: node.module
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == colmodern._HOMES


@pytest.mark.parametrize("name", ["__version__", "InputError", "ScoredDoc"])
def test_light_names_load_no_heavy_package(name: str) -> None:
    heavy = {"torch", "transformers", "numba", "numpy", "scipy", "pydantic", "yaml", "click"}
    code = f"import sys, colmodern; colmodern.{name}; print(*{heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


def test_searching_an_index_loads_no_torch() -> None:
    code = "import sys; from colmodern import PlaidIndex; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
