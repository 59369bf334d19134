"""Data sets of one's own: named in a file, used wherever a name is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.test_evaluate import call, values
from conftest import CORPUS, write_beir
from hub_copies import DOCUMENTS, with_prefix, write_repository

from colmodern import load_dataset
from colmodern.config.load import load_eval_config
from colmodern.config.suite import load_suite
from colmodern.datasets.load import load_corpus
from colmodern.datasets.names import set_defaults
from colmodern.errors import ConfigError, DataError
from colmodern.evaluation.trec import read_run
from colmodern.pipeline.evaluate.run import run_eval
from colmodern.pipeline.open.data import fetch_commands

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folders of settings and of fetched sets."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COLMODERN_DATASETS", raising=False)
    (tmp_path / "settings" / "colmodern").mkdir(parents=True)
    return tmp_path / "settings" / "colmodern"


def test_a_folder_has_a_name_everywhere(home: Path, beir: Path) -> None:
    registry = home / "datasets.yaml"
    registry.write_text(f"mine/small: {{folder: {beir}, drop_self_matches: true}}\n")
    dataset = load_dataset("mine/small")
    assert dataset.name == "mine/small"
    assert dataset.qrels == load_dataset(beir).qrels
    assert len(load_corpus("mine/small")) == len(CORPUS)
    assert set_defaults("mine/small").drop_self_matches
    assert "mine/small" in call("info", "mine/small").output


def test_paths_begin_at_the_file_and_files_may_be_gzipped(home: Path, beir: Path) -> None:
    for name in ("corpus", "queries"):
        packed = home / f"{name}.jsonl.gz"
        packed.write_bytes(gzip.compress((beir / f"{name}.jsonl").read_bytes()))
    (home / "notes.qrels").write_text("q1 0 d1 2\n")
    (home / "datasets.yaml").write_text(
        "notes: {corpus: corpus.jsonl.gz, queries: queries.jsonl.gz, qrels: notes.qrels}\n"
    )
    dataset = load_dataset("notes")
    assert (dataset.name, dataset.qrels) == ("notes", {"q1": {"d1": 2}})
    assert len(dataset.corpus) == len(CORPUS)


def test_the_file_beside_a_config_is_read_and_wins(
    home: Path, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    write_beir(tmp_path / "two", CORPUS[:2], qrels=["q1\td1\t1"])
    (home / "datasets.yaml").write_text("mine/two: {folder: /nowhere}\n")
    path = eval_config()
    (path.parent / "datasets.yaml").write_text("mine/two: {folder: two, splits: [test]}\n")
    config = load_eval_config(path, ["dataset.name=mine/two", "output=runs"])
    result = run_eval(config.model_copy(update={"output": str(tmp_path / "runs")}))
    run = read_run(result.folder / "run.trec")
    assert {doc_id for results in run.values() for doc_id, _ in results} == {"d1", "d2"}
    [member] = load_suite([path], ["dataset.name=mine/two"])
    assert member.config.dataset.registry == str(path.parent / "datasets.yaml")
    assert len(load_suite([path.parent])) == 1  # the file of data sets is no config


def test_a_registry_that_is_not_there_is_named_by_its_setting(
    home: Path, eval_config: Callable[..., Path], beir: Path
) -> None:
    for name in ("mine/two", str(beir)):  # a folder needs no registry, and yet one is named
        config = load_eval_config(
            eval_config(), [f"dataset.name={name}", "dataset.registry=gone.yaml"]
        )
        missing = (
            r"dataset\.registry=.*gone\.yaml: there is no such file; correct it, or leave it out"
        )
        with pytest.raises(ConfigError, match=missing):
            run_eval(config)
        with pytest.raises(ConfigError, match=missing):
            fetch_commands([config.dataset])


def test_a_repository_of_the_hub_is_fetched_under_its_name(home: Path, tmp_path: Path) -> None:
    registry = tmp_path / "sets.yaml"
    registry.write_text(
        f"mine/hub: {{repo: me/hub, revision: {COMMIT}, splits: [dev], prefix: en}}\n"
    )
    repo = write_repository(tmp_path / "repo", with_prefix("en", "dev"))
    config = load_eval_config(
        write_config(tmp_path), ["dataset.name=mine/hub", f"dataset.registry={registry}"]
    )
    assert fetch_commands([config.dataset]) == [f"colmodern fetch mine/hub --registry {registry}"]
    with pytest.raises(
        DataError, match=r"not on this machine.*: colmodern fetch mine/hub --registry "
    ):
        load_dataset("mine/hub", registry=registry)
    result = call("fetch", "mine/hub", "--registry", registry, "--from", repo)
    assert result.exception is None
    dataset = load_dataset("mine/hub", registry=registry)
    assert len(dataset.corpus) == len(DOCUMENTS)
    registry.write_text(registry.read_text().replace("me/hub", "me/other"))
    with pytest.raises(DataError, match="is of 'me/hub', and mine/hub is now me/other"):
        load_dataset("mine/hub", registry=registry)


def write_config(folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text("encoder: {model: colmodern/tiny}\n")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine: {folder: a, repo: b}", "mine: give one of folder, repo and ir_datasets"),
        ("mine: {}", "give one of folder"),
        ("mine: {corpus: a, qrels: b}", "give corpus, queries, qrels together"),
        ("mine: {repo: me/mine}", "give repo and revision together"),
        ("mine: {repo: me/mine, revision: main}", "revision: is not a commit"),
        ("mine: {fodler: a}", "fodler: unknown key; did you mean 'folder'"),
        ("mine: a", "mine: 'a'; write {folder: FOLDER}"),
        ("[mine]", "not data sets; write NAME"),
        ("beir/scifact: {folder: a}", "beir/scifact is the name of a set that comes along"),
        ("stdlib: {folder: a}", "stdlib is the name of a set that comes along"),
        ("'../mine': {folder: a}", "'../mine' is not a name"),
        ("mine: {ir_datasets: vaswani, splits: [a, b]}", "judgments of one split"),
        ("mine: {folder: a", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_name(home: Path, text: str, message: str) -> None:
    (home / "datasets.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_dataset("anything")
    assert message in str(caught.value)
    assert str(home / "datasets.yaml") in str(caught.value)


def test_info_lists_what_a_file_names(home: Path, beir: Path, tmp_path: Path) -> None:
    text = f"here: {{folder: {beir}}}\ngone: {{folder: gone}}\nhub: {{repo: a/b, revision: {COMMIT}}}\n"
    (tmp_path / "datasets.yaml").write_text(text)
    facts = values("info", tmp_path / "datasets.yaml")
    assert facts["here"] == str(beir)
    assert facts["gone"] == f"{tmp_path / 'gone'}, which is not there"
    command = f"colmodern fetch hub --registry {tmp_path / 'datasets.yaml'}"
    assert facts["hub"] == f"a/b, fetched with: {command}"


def test_a_variable_names_another_file(
    beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLMODERN_DATASETS", str(tmp_path / "other.yaml"))
    with pytest.raises(ConfigError, match=r"cannot read .*other\.yaml"):
        load_dataset("mine/other")
    (tmp_path / "other.yaml").write_text(f"mine/other: {{folder: {beir}}}\n")
    assert load_dataset("mine/other").name == "mine/other"


def test_names_of_ones_own_are_suggested(home: Path, beir: Path) -> None:
    (home / "datasets.yaml").write_text(f"mine/questions: {{folder: {beir}}}\n")
    with pytest.raises(DataError, match=r"did you mean mine/questions\?"):
        load_dataset("questions")
    with pytest.raises(DataError, match="mine/questions is on this machine, at "):
        raise call("fetch", "mine/questions").exception or AssertionError
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load_dataset("mine/questions", registry="nothing.yaml")
