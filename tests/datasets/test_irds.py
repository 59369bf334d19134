"""Collections of ir_datasets, through the real package and a set that it is told of here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import CORPUS, QUERIES

from colmodern import load_dataset
from colmodern.datasets.fetch import fetch
from colmodern.datasets.names import find_fetched, sets_under
from colmodern.errors import DataError, MissingExtraError

DOCUMENTS = [document for document in CORPUS if document["text"]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "irds"))


@pytest.fixture
def toy(tmp_path: Path) -> str:
    """The id of a small set, registered with the package."""
    ir_datasets = pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")
    from ir_datasets import formats, util
    from ir_datasets.datasets.beir import BeirTitleDoc

    files = {
        "docs": [[d["_id"], d["text"], d["title"]] for d in DOCUMENTS],
        "queries": [[q["_id"], q["text"]] for q in QUERIES],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text("".join("\t".join(row) + "\n" for row in rows))
    (tmp_path / "qrels").write_text("q1 0 d1 2\nq2 0 d2 1\nq2 0 d9 1\nq3 0 d3 1\n")
    docs, queries, qrels = (
        util.LocalDownload(tmp_path / name) for name in ("docs", "queries", "qrels")
    )
    dataset = ir_datasets.Dataset(
        formats.TsvDocs(docs, BeirTitleDoc),
        formats.TsvQueries(queries),
        formats.TrecQrels(qrels, {}),
    )
    if "toy/test" in ir_datasets.registry:
        del ir_datasets.registry._registered["toy/test"]
    ir_datasets.registry.register("toy/test", dataset)
    return "irds:toy/test"


@pytest.mark.tools
def test_an_id_is_fetched_once_and_then_read_without_the_package(
    toy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"fetch it once.*: colmodern fetch irds:toy/test"):
        load_dataset(toy)
    fetch(sets_under(toy)[0])
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    dataset = load_dataset(toy)
    assert [tuple(document) for document in dataset.corpus] == [
        (d["_id"], d["text"], d["title"]) for d in DOCUMENTS
    ]
    assert dataset.queries == {q["_id"]: q["text"] for q in QUERIES[:3]}
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1, "d9": 1}, "q3": {"d3": 1}}
    assert dataset.missing == {"q2": 1}
    assert "toy/test of ir_datasets" in dataset.description


@pytest.mark.tools
def test_a_file_of_data_sets_names_an_id(toy: str, tmp_path: Path) -> None:
    (tmp_path / "colmodern").mkdir()
    (tmp_path / "colmodern" / "datasets.yaml").write_text("mine/toy: {ir_datasets: toy/test}\n")
    fetch(sets_under("mine/toy")[0])
    assert load_dataset("mine/toy").name == "mine/toy"


@pytest.mark.tools
def test_an_unknown_id_is_one_message(toy: str) -> None:
    with pytest.raises(DataError, match="has no 'toy/none'; its ids are on"):
        fetch(sets_under("irds:toy/none")[0])
    with pytest.raises(DataError, match="keeps its files itself; leave --from out"):
        fetch(sets_under(toy)[0], source=Path())


@pytest.mark.tools
def test_an_id_without_judgments_is_answered_with_those_below_it(toy: str) -> None:
    with pytest.raises(DataError, match=r"has no qrels; .*, such as beir/scifact/test or "):
        fetch(sets_under("irds:beir/scifact")[0])


@pytest.mark.tools
def test_a_failed_download_is_one_short_message(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ir_datasets

    def fail() -> None:
        raise RuntimeError("All download sources failed", ["https://a", "https://b"])

    monkeypatch.setattr(ir_datasets.load("toy/test"), "qrels_iter", fail)
    with pytest.raises(DataError, match=r"toy/test: All download sources failed\. Check the"):
        fetch(sets_under(toy)[0])


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    named_set = find_fetched("irds:vaswani")
    assert named_set is not None
    with pytest.raises(MissingExtraError, match=r"colmodern\[ir-datasets\]"):
        fetch(named_set)
