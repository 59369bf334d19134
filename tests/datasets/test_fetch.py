from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_copies import (
    BEIR,
    DOCUMENTS,
    JUDGMENTS,
    MSMARCO,
    NANO,
    QUERIES,
    bright,
    longembed,
    multilingual,
    with_prefix,
    write_repository,
)

from colmodern import load_dataset
from colmodern.datasets.fetch import fetch, set_folder
from colmodern.datasets.load import load_corpus, load_queries
from colmodern.datasets.registry import named_sets
from colmodern.errors import DataError, StorageError
from colmodern.progress import Silent
from colmodern.types import Dataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetched(name: str, source: Path, split: str | None = None) -> Dataset:
    fetch(named_sets()[name], split=split, source=source)
    return load_dataset(name, split=split)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_beir_repository_is_read_with_the_datasets_library(tmp_path: Path, form: str) -> None:
    dataset = fetched("beir/scifact", write_repository(tmp_path / "repo", BEIR, form))
    assert [tuple(document) for document in dataset.corpus] == [
        (row["_id"], row["text"], row["title"]) for row in DOCUMENTS
    ]
    assert len(dataset.corpus) == 5
    assert dataset.queries == {row["_id"]: row["text"] for row in QUERIES[:3]}
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d4": 1}}
    assert (dataset.name, dataset.revision) == ("beir/scifact", None)  # a copy is of any revision
    assert load_corpus("beir/scifact").fingerprint == dataset.corpus.fingerprint
    assert load_queries("beir/scifact") == dataset.queries


def test_msmarco_is_read_on_dev(tmp_path: Path) -> None:
    dataset = fetched("beir/msmarco", write_repository(tmp_path / "repo", MSMARCO))
    assert set(dataset.qrels) == {"q1", "q2"}


def test_nanobeir_has_one_grade_and_drops_documents_without_text(tmp_path: Path) -> None:
    dataset = fetched("nanobeir/scifact", write_repository(tmp_path / "repo", NANO, "parquet"))
    assert dataset.qrels == {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d4": 1}}
    assert [document.doc_id for document in dataset.corpus] == ["d1", "d2", "q3", "d4"]
    kept = load_dataset("nanobeir/scifact", drop_empty_documents=False).corpus
    assert (len(dataset.corpus), len(kept)) == (4, 5)
    assert kept.fingerprint != dataset.corpus.fingerprint


def test_mldr_has_languages_and_two_splits(tmp_path: Path) -> None:
    repo = write_repository(
        tmp_path / "repo", {**multilingual("en"), **multilingual("de")}, "parquet"
    )
    test, dev = fetched("mldr/en", repo), fetched("mldr/en", repo, "dev")
    assert (len(test.qrels), len(dev.qrels)) == (3, 1)
    assert next(iter(fetched("mldr/de", repo).corpus)).doc_id == "de-d1"
    with pytest.raises(DataError, match="mldr/en has no split 'train'; it has test, dev"):
        load_dataset("mldr/en", split="train")


def test_longembed_has_a_config_a_set_and_lengths(tmp_path: Path) -> None:
    repo = write_repository(tmp_path / "repo", longembed(256, 512))
    dataset = fetched("longembed/qmsum", repo)
    assert dataset.qrels == {"q1": {"d1": 1}, "q2": {"d2": 1}}
    dataset = fetched("longembed/needle/512", repo)
    assert {document.doc_id for document in dataset.corpus} == {
        "d1-512",
        "d2-512",
        "q3-512",
        "d4-512",
    }
    assert dataset.qrels == {"q1-512": {"d1-512": 1}, "q2-512": {"d2-512": 1}}


def test_passkey_has_a_split_for_each_length(tmp_path: Path) -> None:
    configs = {
        "corpus": {"test_256": DOCUMENTS[:2], "test_512": DOCUMENTS},
        "queries": {"test_256": QUERIES, "test_512": QUERIES},
        "qrels": {"test_256": JUDGMENTS[:1], "test_512": JUDGMENTS},
    }
    repo = write_repository(tmp_path / "repo", configs, "parquet")
    dataset = fetched("longembed/passkey/256", repo)
    assert (len(dataset.corpus), set(dataset.qrels)) == (2, {"q1"})


@pytest.mark.parametrize(
    ("name", "prefix", "split"),
    [
        ("miracl/sw", "sw", "dev"),
        ("miracl-hard/yo", "yo", "dev"),
        ("nanobeir-de/scifact", "de", "test"),
        ("lotte/search/writing", "writing_search", "test"),
        ("coir/codesearchnet/go", "go", "test"),
        ("coir/codesearchnet-ccr/php", "php", "test"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_suite_of_languages_or_domains_is_read_by_its_prefix(
    tmp_path: Path, name: str, prefix: str, split: str, form: str
) -> None:
    others = with_prefix("other", split, {**BEIR, "corpus": {"corpus": DOCUMENTS[:1]}})
    repo = write_repository(tmp_path / "repo", {**others, **with_prefix(prefix, split)}, form)
    dataset = fetched(name, repo)
    assert [document.doc_id for document in dataset.corpus] == [row["_id"] for row in DOCUMENTS]
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d4": 1}}
    assert set_folder(named_sets()[name], split).is_dir()


@pytest.mark.parametrize("name", ["coir/cosqa", "trec-dl/2019", "trec-dl/2020"])
def test_suites_in_the_common_layout_are_read(tmp_path: Path, name: str) -> None:
    repo = {"corpus": BEIR["corpus"], "query": BEIR["queries"], "default": {"test": JUDGMENTS}}
    dataset = fetched(name, write_repository(tmp_path / "repo", repo, "parquet"))
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d4": 1}}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_bright_has_domains_excluded_documents_and_long_pages(tmp_path: Path, form: str) -> None:
    repo = write_repository(tmp_path / "repo", bright("biology", "theoremqa_theorems"), form)
    dataset = fetched("bright/biology", repo)
    assert [document.text for document in dataset.corpus] == [row["text"] for row in DOCUMENTS]
    assert dataset.qrels == {"q1": {"d1": 1, "d2": 1}, "q2": {"d2": 1}}
    assert dataset.excluded == {"q1": ("d4", "d5")}
    long = fetched("bright/biology", repo, "long")
    assert ([d.doc_id for d in long.corpus], long.qrels) == (["page1"], {"q1": {"page1": 1}})
    assert fetched("bright/theoremqa-theorems", repo).qrels == dataset.qrels
    with pytest.raises(DataError, match="has no split 'long'; it has standard"):
        load_dataset("bright/theoremqa-theorems", split="long")


def test_what_was_left_out_is_in_the_manifest(tmp_path: Path) -> None:
    judged = [
        *JUDGMENTS,
        {"query-id": "q9", "corpus-id": "d1", "score": 1},
        {"query-id": "q1", "corpus-id": "gone", "score": 1},
    ]
    repo = write_repository(tmp_path / "repo", {**BEIR, "default": {"test": judged}})
    dataset = fetched("beir/nq", repo)
    assert dataset.qrels["q1"] == {"d1": 2, "gone": 1}  # counts in the ideal ranking
    manifest = json.loads(
        (set_folder(named_sets()["beir/nq"], "test") / "manifest.json").read_text()
    )
    facts = ("documents", "documents_without_text", "queries", "judged_queries_left_out")
    assert [manifest[name] for name in facts] == [5, 1, 3, 1]
    assert (manifest["judgments"], manifest["judgments_of_unknown_documents"]) == (4, 1)
    assert manifest["revision"] == named_sets()["beir/nq"].revision


def test_links_in_the_place_of_a_set_are_replaced_and_their_targets_stay(tmp_path: Path) -> None:
    source, home = write_repository(tmp_path / "repo", BEIR), tmp_path / "home"
    home.mkdir()
    (home / "precious").write_text("mine")
    folder = set_folder(named_sets()["beir/scifact"], "test")
    folder.parent.mkdir(parents=True)
    for path in (folder, folder.with_name(f"{folder.name}.new")):
        path.symlink_to(home)
    fetch(named_sets()["beir/scifact"], source=source, again=True)
    assert not folder.is_symlink()
    assert len(load_corpus("beir/scifact")) == 5
    assert [path.name for path in home.iterdir()] == ["precious"]


def test_a_set_that_is_missing_says_which_command_fetches_it() -> None:
    with pytest.raises(DataError, match=r"not on this machine.*: colmodern fetch beir/fiqa$"):
        load_dataset("beir/fiqa")
    with pytest.raises(DataError, match=r"colmodern fetch mldr/zh --split dev$"):
        load_dataset("mldr/zh", split="dev")


def test_names_that_nobody_knows_are_answered_with_near_ones() -> None:
    with pytest.raises(DataError, match=r"did you mean beir/scifact or nanobeir/scifact\?"):
        load_dataset("SciFact")
    with pytest.raises(DataError, match=r"did you mean .*beir/hotpotqa"):
        load_dataset("beir/hotpot")


def test_without_a_network_it_is_one_message_and_leaves_nothing(cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch(named_sets()["beir/scifact"])
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot read the qrels of beir/scifact from mteb/scifact" in message
    assert "colmodern fetch beir/scifact --from FOLDER" in message
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_damaged_copy_is_never_read(tmp_path: Path, file: str) -> None:
    repo = write_repository(tmp_path / "repo", BEIR)
    fetched("beir/scifact", repo)
    path = set_folder(named_sets()["beir/scifact"], "test") / file
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"x" + content[-2:])
    with pytest.raises(
        StorageError, match=r"differs from its checksum.*fetch beir/scifact --again"
    ):
        load_dataset("beir/scifact")
    path.write_bytes(content[:-3])
    with pytest.raises(StorageError, match="missing or cut short"):
        load_dataset("beir/scifact")
    fetch(named_sets()["beir/scifact"], source=repo, again=True)
    assert len(load_dataset("beir/scifact").qrels) == 3


def test_an_interrupted_fetch_leaves_nothing_and_keeps_the_earlier_one(
    tmp_path: Path, cache: Path
) -> None:
    class Stop(Silent):
        """Interrupts when the corpus has been read."""

        def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
            self.task = task

        def finish(self) -> None:
            if "corpus" in self.task:
                raise KeyboardInterrupt

    repo = write_repository(tmp_path / "repo", BEIR)
    named_set = named_sets()["beir/scifact"]
    with pytest.raises(KeyboardInterrupt):
        fetch(named_set, source=repo, progress=Stop())
    assert not [path for path in cache.rglob("*") if path.is_file()]
    fetch(named_set, source=repo)
    with pytest.raises(KeyboardInterrupt):
        fetch(named_set, source=repo, again=True, progress=Stop())
    assert len(load_dataset("beir/scifact").qrels) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"corpus": {"corpus": [*DOCUMENTS, DOCUMENTS[0]]}},
            "document id 'd1' is already on line 1",
        ),
        ({"default": {"test": [{**JUDGMENTS[0], "score": 0.5}]}}, "give whole grades"),
        ({"default": {"dev": JUDGMENTS, "train": JUDGMENTS}}, "has the splits dev, train, and not"),
        (
            {"queries": {"queries": QUERIES[3:]}},
            "no judgment of split test belongs to a query",
        ),
        (
            {"corpus": {"corpus": [{"key": "d1", "text": "x"}]}},
            "a row has no id; its fields are key",
        ),
    ],
)
def test_a_repository_of_another_form_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    repo = write_repository(tmp_path / "repo", {**BEIR, **change})
    with pytest.raises(DataError, match=message):
        fetch(named_sets()["beir/scifact"], source=repo)


def test_a_repository_without_judgments_is_refused(tmp_path: Path) -> None:
    repo = write_repository(tmp_path / "repo", {k: v for k, v in BEIR.items() if k != "default"})
    with pytest.raises(DataError, match="has no config default or qrels, only corpus, queries"):
        fetch(named_sets()["beir/scifact"], source=repo)
