"""The fields of the data recipe: each does what it says, and is in the resolved config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import CORPUS, QUERIES, write_beir
from hub_copies import BEIR, write_repository

from colmodern.config.load import load_eval_config
from colmodern.datasets.fetch import fetch
from colmodern.datasets.load import load_dataset
from colmodern.datasets.registry import named_sets
from colmodern.encoding.store import document_texts
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.trec import read_run
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.result import EvalResult
from colmodern.types import Document


@pytest.fixture
def with_itself(tmp_path: Path) -> Path:
    """A collection whose queries are documents too, as ArguAna's are."""
    documents = [*CORPUS, *({**query, "title": ""} for query in QUERIES[:3])]
    return write_beir(tmp_path / "itself", documents)


def run(path: Path, *overrides: str) -> EvalResult:
    return run_eval(load_eval_config(path, overrides))


def found(result: EvalResult) -> dict[str, list[str]]:
    pairs = read_run(result.folder / "run.trec").items()
    return {query_id: [doc_id for doc_id, _ in results] for query_id, results in pairs}


@pytest.mark.parametrize("index", ["{kind: exact}", "{kind: plaid, n_centroids: 4}"])
def test_self_matches_are_removed_before_the_cut(
    eval_config: Callable[..., Path], with_itself: Path, index: str
) -> None:
    path = eval_config(extra=f"index: {index}\nmeasures: [nDCG@3]\n")
    collection = f"dataset.name={with_itself}"
    four = found(run(path, collection, "search.k=4"))
    dropped = found(run(path, collection, "search.k=3", "dataset.drop_self_matches=true"))
    assert any(query_id in doc_ids for query_id, doc_ids in four.items())
    for query_id, doc_ids in four.items():
        assert dropped[query_id] == [doc_id for doc_id in doc_ids if doc_id != query_id][:3]


def test_n_candidates_leaves_room_for_the_query_itself(eval_config, with_itself: Path) -> None:
    path = eval_config(extra="index: {kind: plaid, n_candidates: 100}\n")
    with pytest.raises(ConfigError, match=r"search\.k=100 and the query itself, which is dropped"):
        run(path, f"dataset.name={with_itself}", "dataset.drop_self_matches=true")


def test_titles_are_joined_with_the_separator() -> None:
    documents = [Document("1", "text", "Title"), Document("2", "text"), Document("3", "", "Title")]
    for separator in (" ", "\n", " | "):
        texts = dict(document_texts(documents, join_titles=True, title_separator=separator))
        assert texts == {"1": f"Title{separator}text", "2": "text", "3": "Title"}
    assert dict(document_texts(documents, join_titles=False)) == {"1": "text", "2": "text", "3": ""}


def test_another_separator_or_dropped_documents_are_other_embeddings(eval_config) -> None:
    folders = set()
    for override in (
        "name=a",
        r'dataset.title_separator="\n"',
        "dataset.drop_empty_documents=true",
    ):
        result = run(eval_config(), override)
        folders |= {p.name for p in (result.folder.parent / ".cache").glob("documents-*")}
    assert len(folders) == 3


def test_files_of_any_name_are_evaluated_and_need_a_name(eval_config, beir: Path) -> None:
    (beir / "qrels.trec").write_text("q1 0 d1 2\nq2 0 d2 1\nq2 0 d6 0\nq3 0 d3 1\n")
    files = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.trec"}
    overrides = [f"dataset.{field}={beir / name}" for field, name in files.items()]
    expected = run(eval_config())
    result = run(eval_config(), *overrides, "dataset.name=mine", "name=other")
    assert result.evaluation == expected.evaluation
    assert result.timings["encode documents"].reused
    with pytest.raises(ConfigError, match="queries and qrels are missing; the files"):
        load_eval_config(eval_config(), overrides[:1])


def test_a_fetched_set_is_evaluated_as_its_suite_does(
    eval_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    path = eval_config()
    with pytest.raises(DataError, match=r"colmodern fetch beir/arguana$"):
        run(path, "dataset.name=beir/arguana")
    fetch(named_sets()["beir/arguana"], source=write_repository(tmp_path / "repo", BEIR))
    result = run(path, "dataset.name=beir/arguana")
    assert "q3" not in found(result)["q3"]
    resolved = yaml.safe_load((result.folder / "config.yaml").read_text())["dataset"]
    assert resolved["split"] == "test"
    assert resolved["drop_self_matches"] is True
    assert resolved["drop_empty_documents"] is False
    kept = found(run(path, "dataset.name=beir/arguana", "dataset.drop_self_matches=false"))
    assert "q3" in kept["q3"]


def test_excluded_documents_are_no_results_and_others_take_their_places(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    path = eval_config(extra="measures: [nDCG@2]\n")
    plain = found(run(path, "search.k=4"))
    queries = [dict(query) for query in QUERIES]
    queries[0]["excluded"] = [plain["q1"][0], plain["q1"][2], "unknown"]
    other = write_beir(tmp_path / "excluding", queries=queries)
    for kind in ("exact", "plaid"):
        result = run(path, f"dataset.name={other}", "search.k=2", f"index.kind={kind}")
        assert found(result) == {
            **{query_id: ids[:2] for query_id, ids in plain.items()},
            "q1": [plain["q1"][1], plain["q1"][3]],
        }


def test_n_candidates_leaves_room_for_excluded_documents(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    queries = [{**QUERIES[0], "excluded": ["d1", "d2", "d3"]}, *QUERIES[1:]]
    other = write_beir(tmp_path / "excluding", queries=queries)
    path = eval_config(extra="index: {kind: plaid, n_candidates: 4}\nmeasures: [nDCG@2]\n")
    with pytest.raises(ConfigError, match=r"search\.k=2 and the 3 documents that a query of"):
        run(path, f"dataset.name={other}", "search.k=2")


def test_excluded_documents_are_a_list_of_ids(tmp_path: Path) -> None:
    queries = [{**QUERIES[0], "excluded": "d1"}, *QUERIES[1:]]
    folder = write_beir(tmp_path / "excluding", queries=queries)
    with pytest.raises(DataError, match=r"queries.jsonl:1: field 'excluded' is 'd1'; give a list"):
        load_dataset(folder)
