from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import colmodern

PUBLIC = {
    "Encoder",
    "ExactIndex",
    "PlaidIndex",
    "Reranker",
    "TokenEmbeddings",
    "evaluate",
    "load_dataset",
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


def test_searching_an_index_loads_no_torch() -> None:
    code = "import sys; from colmodern import PlaidIndex; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
