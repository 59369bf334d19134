from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.load import load_eval_config
from colmodern.config.suite import is_suite, load_suite
from colmodern.errors import ConfigError

SUITE = """
encoder: {model: m, query_length: 32}
sets:
  beir/scifact: {encoder: {query_length: 48}}
  beir/cqadupstack/tex:
  mine: {dataset: {name: ./data, split: dev}}
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_file_of_sets_is_an_evaluation_for_each(tmp_path: Path) -> None:
    path = write(tmp_path, "model.yaml", SUITE)
    members = load_suite([path], ["search.k=50", "measures=[nDCG@10]"])
    assert [(m.column, m.row, m.config.name) for m in members] == [
        ("model", "beir/scifact", "model.beir-scifact"),
        ("model", "beir/cqadupstack/tex", "model.beir-cqadupstack-tex"),
        ("model", "mine", "model.mine"),
    ]
    assert [m.config.dataset.name for m in members] == [
        "beir/scifact",
        "beir/cqadupstack/tex",
        "./data",
    ]
    assert [m.config.encoder.query_length for m in members] == [48, 32, 32]
    assert {m.config.search.k for m in members} == {50}
    assert load_suite([path], ["name=x"])[0].config.name == "x.beir-scifact"


def test_only_takes_patterns(tmp_path: Path) -> None:
    path = write(tmp_path, "model.yaml", SUITE)
    assert [m.row for m in load_suite([path], only=["beir/*", "x"])] == [
        "beir/scifact",
        "beir/cqadupstack/tex",
    ]
    with pytest.raises(ConfigError, match=r"no set is like nq; sets are beir/scifact, beir/cqa"):
        load_suite([path], only=["nq"])


def test_a_folder_is_its_files_less_those_to_extend_and_published_scores(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml"):
        write(tmp_path / "two", name, "encoder: {model: m}\n")
    write(tmp_path / "two", "_shared.yaml", "encoder: {}\n")
    write(tmp_path / "two", "a.expected.yaml", "[]\n")
    assert [(m.column, m.row) for m in load_suite([tmp_path / "two"])] == [
        ("two", "a"),
        ("two", "b"),
    ]
    # after a, though "-" is before "."
    write(tmp_path / "two", "a-b.yaml", "encoder: {model: m}\n")
    assert [m.row for m in load_suite([tmp_path / "two"])] == ["a", "a-b", "b"]
    (tmp_path / "two" / "a-b.yaml").unlink()
    write(tmp_path / "two", "c.yaml", SUITE)
    assert [m.column for m in load_suite([tmp_path / "two"])] == ["two", "two", "c", "c", "c"]


def test_several_files_are_columns(tmp_path: Path) -> None:
    files = [write(tmp_path, name, "encoder: {model: m}\n") for name in ("a.yaml", "b.yaml")]
    assert [(m.column, m.row) for m in load_suite(files)] == [("a", "stdlib"), ("b", "stdlib")]
    with pytest.raises(ConfigError, match="are both called a"):
        load_suite([files[0], files[0]])


def test_what_is_a_suite(tmp_path: Path) -> None:
    one, many = write(tmp_path, "a.yaml", "name: a\n"), write(tmp_path, "b.yaml", SUITE)
    assert not is_suite([one])
    assert is_suite([many])
    assert is_suite([tmp_path])
    assert is_suite([one, one])
    with pytest.raises(ConfigError, match="is of 3 data sets; `colmodern eval"):
        load_eval_config(many)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sets: [a, b]\n", "sets: give data sets, one a line"),
        ("sets:\n", "sets: give data sets"),
        ("encoder: {model: m}\nsets: {a: 3}\n", r"sets\.a: 3 are not settings"),
        ("encoder: {model: m}\nsets: {a: {serch: {k: 3}}}\n", r"sets\.a: serch: unknown key"),
    ],
)
def test_faults_are_named_by_file_and_set(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_suite([write(tmp_path, "a.yaml", text)])


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no \*\.yaml files"):
        load_suite([tmp_path])
