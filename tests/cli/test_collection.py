"""colmodern collection ..., and what search and info do with a collection."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from cli.test_main import Run, run
from conftest import write_jsonl

from colmodern import Collection

__all__ = ["run"]  # the fixture

ROWS = [
    {"_id": "backup", "title": "Backups", "text": "To restore a single file, name it.", "n": 1},
    {"_id": "pasta", "text": "Boil the pasta in salted water."},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    write_jsonl(path, ROWS)
    return path


@pytest.fixture
def folder(run: Run, tmp_path: Path, corpus: Path) -> Path:
    folder = tmp_path / "c"
    code, out, err = run("collection", "create", folder, corpus, "--device", "cpu")
    assert code == 0, err
    assert out.splitlines()[-1] == str(folder)
    assert out.startswith("2 documents with colmodern/tiny")
    return folder


def ids(folder: Path) -> list[str]:
    return list(Collection.open(folder))


def test_search_prints_what_matched(run: Run, folder: Path) -> None:
    code, out, _ = run("search", folder, "restore one file", "-k", 1)
    assert code == 0
    header, row = out.splitlines()
    assert header.split("\t") == ["rank", "score", "document", "title", "passage"]
    assert row.split("\t")[0::2] == ["1", "backup", "restore a single file"]
    _, out, _ = run("search", folder, "restore one file", "--json")
    hit = json.loads(out)[0]
    start, end = hit["spans"][0]["start"], hit["spans"][0]["end"]
    assert hit["text"][start:end] == "restore a single file"
    assert (hit["title"], hit["fields"]) == ("Backups", {"n": 1})


def test_search_writes_a_run_for_many_queries(run: Run, folder: Path, tmp_path: Path) -> None:
    queries, output = tmp_path / "queries.jsonl", tmp_path / "run.trec"
    write_jsonl(queries, [{"_id": "q1", "text": "restore"}, {"_id": "q2", "text": "pasta"}])
    code, out, _ = run("search", folder, "--queries", queries, "-o", output, "-k", 1)
    assert (code, out.strip()) == (0, str(output))
    rows = [line.split() for line in output.read_text().splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("q1", "backup"), ("q2", "pasta")]


@pytest.mark.parametrize(
    "option",
    [("--model", "x"), ("--index", "x"), ("--precision", "int8"), ("--index-device", "cpu")],
)
def test_search_refuses_what_a_collection_has_itself(
    run: Run, folder: Path, option: tuple[str, str]
) -> None:
    code, _, err = run("search", folder, "x", *option)
    assert code == 2
    assert f"leave {option[0]} out" in err


def test_search_says_what_an_index_alone_lacks(run: Run, folder: Path) -> None:
    index = next(folder.glob("index-*"))
    code, _, err = run("search", index, "x")
    assert code == 2
    assert "knows neither the model" in err
    assert "colmodern collection create" in err


def test_search_names_what_it_takes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, fault in (("none", "there is no folder"), ("empty", "is empty")):
        code, _, err = run("search", tmp_path / name, "x")
        assert (code, fault in err) == (2, True)
        assert "give a collection, a run folder or a folder of embeddings" in err


def test_add_names_the_option_that_replaces(run: Run, folder: Path, corpus: Path) -> None:
    code, _, err = run("collection", "add", folder, corpus)
    assert code == 2
    assert "colmodern collection add --update" in err


def test_add_takes_files_folders_names_and_lines(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes"
    (notes / "more").mkdir(parents=True)
    (notes / ".hidden").mkdir()
    (notes / "a.md").write_text("# A\n\ntext")
    (notes / "more" / "b.txt").write_text("b")
    (notes / ".hidden" / "c.md").write_text("c")
    (notes / "d.py").write_text("d")
    (tmp_path / "e.md").write_text("e")
    table = tmp_path / "table.tsv"
    table.write_text("t1\tone\nt2\ttwo\n")
    code, _, err = run(
        "collection", "add", folder, notes, tmp_path / "e.md", table, "--device", "cpu"
    )
    assert code == 0, err
    assert ids(folder) == ["backup", "pasta", "a.md", "more/b.txt", "e.md", "t1", "t2"]
    for lines in (b"plain one\n\nplain two\n", b'{"id": "j", "text": "json"}\n'):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        assert run("collection", "add", folder, "-")[0] == 0
    assert ids(folder)[-3:] == ["0", "1", "j"]
    code, _, err = run("collection", "add", folder, table)
    assert code == 2
    assert "'t1' is in the collection already" in err
    table.write_text("t1\tother\n")
    assert run("collection", "add", folder, table, "--update")[0] == 0
    assert Collection.open(folder)["t1"].text == "other"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b'{"id": "j", "text": "x"}\nplain\n', "stdin:2: not valid JSON"),
        (b'{"id": "j"}\n', "stdin:1: field 'text' is None"),
        (b"text \xff\n", "stdin:1: not UTF-8"),
    ],
)
def test_faults_of_stdin_are_named(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, lines: bytes, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    code, _, err = run("collection", "add", folder, "-")
    assert code == 2
    assert message in err
    assert ids(folder) == ["backup", "pasta"]


def test_a_folder_without_texts_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run("collection", "add", folder, tmp_path / "empty")
    assert code == 2
    assert "has no corpus.jsonl and no .md" in err


def test_delete_compact_check_and_info(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("collection", "delete", folder, "x")[0] == 2
    assert run("collection", "delete", folder)[0] == 2
    code, out, _ = run("collection", "delete", folder, "pasta")
    assert (code, out.splitlines()[0]) == (0, "1 deleted")
    assert run("collection", "compact", folder)[0] == 0
    assert "nothing is wrong" in run("collection", "check", folder)[1]
    for command in (("collection", "info"), ("info",), ("info", "--verify")):
        code, out, _ = run(*command, folder, "--json")
        assert code == 0
        assert json.loads(out)["documents"] == 1
    assert "documents: 1\n" in run("info", folder)[1]
    texts = next(folder.glob("texts-*")) / "texts.bin"
    texts.write_bytes(b"x" * texts.stat().st_size)
    code, _, err = run("info", folder, "--verify")
    assert code == 2
    assert "texts.bin differs from its checksum" in err


def test_create_takes_a_model_and_settings(run: Run, tmp_path: Path, corpus: Path) -> None:
    code, _, err = run(
        *("collection", "create", tmp_path / "c", corpus, "--set", "document_length=8"),
        *("--nbits", 2, "--no-spans", "--device", "cpu"),
    )
    assert code == 0, err
    info = Collection.open(tmp_path / "c").info()
    assert info["encoder"]["settings"]["document_length"] == 8
    assert (info["spans"], info["index"]["settings"]["nbits"]) == (False, 2)
    assert run("collection", "create", tmp_path / "c")[0] == 2


@pytest.mark.parametrize("is_there", [True, False])
def test_create_leaves_nothing_of_a_collection_whose_documents_are_wrong(
    run: Run, tmp_path: Path, corpus: Path, is_there: bool
) -> None:
    folder, wrong = tmp_path / "c", tmp_path / "wrong.jsonl"
    write_jsonl(wrong, [*ROWS, {"_id": "no text"}])
    if is_there:
        folder.mkdir()
    code, _, err = run("collection", "create", folder, wrong, "--device", "cpu")
    assert (code, "wrong.jsonl:3: field 'text'" in err) == (2, True)
    assert folder.exists() is is_there
    assert not is_there or not list(folder.iterdir())
    assert run("collection", "create", folder, corpus, "--device", "cpu")[0] == 0
    assert ids(folder) == ["backup", "pasta"]
    assert run("collection", "create", folder, wrong, "--device", "cpu")[0] == 2
    assert ids(folder) == ["backup", "pasta"]


def test_a_source_without_documents_is_refused(
    run: Run, folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    for source, name in ((empty, str(empty)), ("-", "stdin")):
        code, _, err = run("collection", "add", folder, "--update", corpus, source)
        assert (code, f"{name} has no documents; give at least one line" in err) == (2, True)
    assert run("collection", "create", tmp_path / "new", empty, "--device", "cpu")[0] == 2
    assert not (tmp_path / "new").exists()
