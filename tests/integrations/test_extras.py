from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

import colmodern
from colmodern.errors import MissingExtraError

PACKAGES = {
    "pyterrier": ("pyterrier", "pyterrier"),
    "langchain": ("langchain_core.documents", "langchain"),
    "llama_index": ("llama_index.core.retrievers", "llama-index"),
    "rerankers": ("rerankers.models.ranker", "rerankers"),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_without_its_package_a_tool_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, extra = PACKAGES[name]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"colmodern.integrations.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=rf"pip install 'colmodern\[{extra}\]'"):
        import_module(f"colmodern.integrations.{name}")


def test_a_tool_takes_less_than_100_lines() -> None:
    folder = Path(colmodern.__file__).parent / "integrations"
    assert {path.stem for path in folder.glob("*.py")} == {*PACKAGES, "__init__", "inputs", "mteb"}
    for name in PACKAGES:
        assert len((folder / f"{name}.py").read_text().splitlines()) < 100


def test_the_earlier_home_of_the_model_of_mteb_still_has_it() -> None:
    from colmodern.integrations.mteb import MtebModel

    earlier = import_module("colmodern.pipeline.mteb_model")
    assert earlier.MtebModel is MtebModel
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        earlier.Other  # noqa: B018
