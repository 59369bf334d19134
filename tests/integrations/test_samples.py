"""The samples of the page on other tools, with the tools."""

from __future__ import annotations

import re
from pathlib import Path

import checkpoints
import pytest
from test_pages import ROOT, samples

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]


def test_the_samples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but those that need the hub, one after another."""
    for package in (
        "pyterrier",
        "langchain_core",
        "llama_index",
        "sentence_transformers",
        "rerankers",
    ):
        pytest.importorskip(package, reason="needs the extra tools")
    monkeypatch.chdir(tmp_path)
    model = checkpoints.sentence_transformers(tmp_path / "model", "bert", expansion=None)
    page = (ROOT / "docs" / "other-tools.md").read_text()
    names: dict[str, object] = {}
    ran = set()
    for sample in samples(page):
        if sample.language != "python" or "import mteb" in sample.code:
            continue
        exec(
            compile(sample.code.replace("MODEL", str(model)), f"line {sample.line}", "exec"), names
        )
        ran |= set(re.findall(r"colmodern\.integrations\.(\w+)", sample.code))
    assert ran == {"pyterrier", "langchain", "llama_index", "rerankers"}
    assert "index" in names
