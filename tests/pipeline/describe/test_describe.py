from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from colmodern.errors import DataError, InputError
from colmodern.pipeline.describe.describe import describe
from colmodern.pipeline.run_folder import TRAIN_CONFIG, TRAIN_RESULT, TRAINED_MODEL


def test_a_training_says_what_came_of_it_or_how_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / TRAIN_CONFIG).write_text("name: mine\n")
    begun = describe(str(tmp_path))
    assert f"colmodern train {tmp_path / TRAIN_CONFIG}" in begun["state"]
    (tmp_path / TRAINED_MODEL).mkdir()
    (tmp_path / TRAIN_RESULT).write_text(json.dumps({"steps": 50, "measures": {}}))
    finished = describe(str(tmp_path))
    assert finished["model"] == str(tmp_path / TRAINED_MODEL)
    assert finished["steps"] == 50


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)


RUN = "q1 Q0 d1 1 2.5 bm25\nq1 Q0 d2 2 1.5 bm25\nq2 Q0 d1 1 7 bm25\n"
CONFIG = "name: x\ndataset: {name: beir}\nencoder: {model: m}\nmeasures: [nDCG@10]\n"
SUITE = [{"row": "a", "column": "m", "run": "r", "measures": None, "error": "no disk"}]
FILES = {
    "a.trec": (RUN, {"queries": 2, "results": 3, "documents": 2, "tag": "bm25"}),
    "b.trec": ("q1 0 d1 1\nq1 0 d2 0\n", {"judgments": 2, "grades": {0: 1, 1: 1}}),
    "c.tsv": ("query-id\tcorpus-id\tscore\nq1\td1\t2\n", {"judged_queries": 1, "grades": {2: 1}}),
    "d.tsv": ("d1\tone two three\nd2\tfour\n", {"documents": 2}),
    "queries.jsonl": ('{"_id": "q", "text": "one two"}\n', {"queries": 1}),
    "x.yaml": (CONFIG, {"of": "an evaluation", "model": "m", "measures": ["nDCG@10"]}),
    "words.yaml": ("dataset: {name: beir}\nindex: {kind: bm25}\n", {"model": None}),
    "y.yaml": (CONFIG + "sets: {a: , b: }\n", {"of": "a suite of evaluations", "evaluations": 2}),
    "s.suite.json": (json.dumps(SUITE), {"evaluations": 1, "failed": 1}),
}


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.usefixtures("no_hub")
def test_a_file_says_what_it_holds(name: str, tmp_path: Path) -> None:
    text, expected = FILES[name]
    (tmp_path / name).write_text(text)
    about = describe(str(tmp_path / name))
    assert {key: about[key] for key in expected} == expected


@pytest.mark.usefixtures("no_hub")
def test_a_collection_says_its_documents_queries_and_judgments(beir: Path) -> None:
    about = describe(str(beir))
    assert (about["documents"], about["queries"]) == (6, 4)
    assert about["words_of_a_document"]["least"] == about["documents_without_text"] - 1 == 0
    assert about["splits"]["test"]["judgments"] == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.trec", "word\n"), ("b.bin", "\0\1"), ("c.json", "{}"), ("d.tsv", ""), ("e.jsonl", "")],
)
@pytest.mark.usefixtures("no_hub")
def test_a_path_that_is_nothing_of_ours_is_refused_without_the_hub(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    for what in (tmp_path / name, tmp_path, tmp_path / "no.jsonl", tmp_path / "no"):
        with pytest.raises(InputError):
            describe(str(what))


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["nanobeir", "eval/nanobeir"])
def test_a_recipe_is_called_one_without_the_hub(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is a recipe, .* recipes show eval/nanobeir"):
        describe(name)


@pytest.mark.usefixtures("no_hub")
def test_a_gzipped_collection_says_the_same(beir: Path) -> None:
    about = describe(str(beir))
    for path in (beir / "corpus.jsonl", beir / "queries.jsonl", beir / "qrels" / "test.tsv"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert describe(str(beir)) == about


@pytest.mark.parametrize("odd", ["\u00a0", "\u2028", "\x85", "\x1c", "\x1b[31m"])
@pytest.mark.usefixtures("no_hub")
def test_an_id_may_hold_what_is_white_space_in_unicode_only(odd: str, tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text(f"q{odd}1 Q0 d{odd}1 1 2.0 t\n")
    assert describe(str(tmp_path / "run.trec"))["results"] == 1
    (tmp_path / "qrels.trec").write_text(f"q{odd}1 0 d{odd}1 1\n")
    assert describe(str(tmp_path / "qrels.trec"))["judgments"] == 1
    assert describe(str(tmp_path / "run.trec"))["measures"]["nDCG@10"] == 1


@pytest.mark.usefixtures("no_hub")
def test_a_run_without_a_judged_query_says_so_and_the_rest(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q1 Q0 d1 1 2.0 t\n")
    (tmp_path / "qrels.trec").write_text("other 0 d1 1\n")
    about = describe(str(tmp_path / "run.trec"))
    assert about["results"] == 1
    assert about["measures"] == "none: qrels.trec beside it judges none of its queries"


@pytest.mark.parametrize("name", ["run.trec", "run.trec.gz", "run"])
@pytest.mark.usefixtures("no_hub")
def test_a_gzipped_file_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    lines = b"q1 Q0 d1 1 2.0 t\nq1 Q0 d2 2 1.0 t\n"
    for content in (
        lines,
        gzip.compress(lines),
        gzip.compress(lines[:17]) + gzip.compress(lines[17:]),
    ):
        (tmp_path / name).write_bytes(content)
        assert describe(str(tmp_path / name))["results"] == 2
    (tmp_path / name).write_bytes(gzip.compress(lines)[:-9])
    with pytest.raises(DataError, match="gzipped and damaged at line"):
        describe(str(tmp_path / name))


def test_a_damaged_run_is_named_among_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
        about = {"model": {"model": "m"}, "dataset": {"name": "d"}}
        (tmp_path / name / "environment.json").write_text(json.dumps(about))
    (tmp_path / "two" / "environment.json").write_text("{")
    runs = describe(str(tmp_path))["runs"]
    assert "environment.json is not JSON" in runs["two"]["error"]
    assert set(runs) == {"one", "two"}
