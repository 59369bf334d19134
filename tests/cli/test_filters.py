"""Filters, groups and pages on the command line."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from colmodern.cli.main import main

DOCUMENTS = [
    {"_id": "a", "text": "The tool copies folders every night.", "year": 2021, "part": "ops"},
    {"_id": "b", "text": "To rename a file, choose it.", "year": 2019, "part": "files",
     "day": "2019-05-01"},
    {"_id": "c", "text": "To restore a folder, name it.", "year": 2022, "part": "ops"},
]  # fmt: skip


class Result(NamedTuple):
    """What a command left: its exit status, what it printed, and with that its messages."""

    exit_code: object
    stdout: str
    output: str


def run(*arguments: object) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Result(ended.value.code, out.getvalue(), out.getvalue() + err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, its embeddings, an index and a collection."""
    root = tmp_path_factory.mktemp("filters")
    corpus = root / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    model = ("--model", "colmodern/tiny", "--device", "cpu")
    for arguments in (
        ("encode", corpus, "-o", root / "emb", *model),
        ("index", "build", root / "emb", root / "idx", "--fields", corpus, "--device", "cpu"),
        ("collection", "create", root / "col", corpus, *model),
        ("collection", "create", root / "bare", corpus, *model, "--no-fields"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    return root


def found(*arguments: object) -> list[dict[str, Any]]:
    result = run("search", *arguments, "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    results: list[dict[str, Any]] = json.loads(result.stdout)
    return results


@pytest.mark.parametrize("kind", ["index", "collection"])
def test_search_filters_groups_and_pages(folder: Path, kind: str) -> None:
    where = (
        (folder / "col", "folders") if kind == "collection"
        else (folder / "emb", "folders", "--index", folder / "idx")
    )  # fmt: skip
    assert {hit["doc_id"] for hit in found(*where, "--filter", '{"year": {"gte": 2020}}')} == {
        "a",
        "c",
    }
    everything = [hit["doc_id"] for hit in found(*where)]
    [hit] = found(*where, "--offset", 2)
    assert (hit["rank"], hit["doc_id"]) == (3, everything[2])
    groups = {hit["group"]: hit["doc_id"] for hit in found(*where, "--group-by", "part")}
    assert len(groups) == 2
    assert groups["files"] == "b"
    table = run("search", *where, "--group-by", "part", "--device", "cpu").stdout.splitlines()
    assert table[0].split("\t")[:4] == ["rank", "score", "document", "group"]
    assert {row.split("\t")[3]: row.split("\t")[2] for row in table[1:]} == groups


def test_a_run_of_queries_is_filtered(folder: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id": "q", "text": "a file"}\n')
    for where in ((folder / "col",), (folder / "emb", "--index", folder / "idx")):
        options = ("--queries", queries, "-o", tmp_path / "run.trec", "--device", "cpu")
        result = run("search", *where, *options, "--filter", '{"part": "files"}')
        assert result.exit_code == 0, result.output
        assert [line.split()[2] for line in (tmp_path / "run.trec").read_text().splitlines()] == [
            "b"
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--filter", "{year"), "--filter='{year' is not JSON"),
        (("--filter", "[1]"), "--filter is [1]; pass a mapping"),
        (
            ("--filter", '{"yaer": 1}'),
            "which no document has; the fields are day (date or text), part (text), year",
        ),
        (("--filter", '{"day": {"gte": "May 2019"}}'), "'May 2019'; write a date as 2024-05-01"),
        (
            ("--filter", '{"year": {"gte": 2020}, "year": {"lt": 2022}}'),
            "--filter has the key 'year' twice in one mapping; join its conditions",
        ),
        (("--group-by", "yaer"), "group_by names the field 'yaer'"),
        (("--offset", "-1"), "-1 is not in the range"),
    ],
)
def test_what_is_no_filter_says_why(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    for where in ((folder / "col",), (folder / "emb", "--index", folder / "idx")):
        result = run("search", *where[:1], "folders", *where[1:], *arguments, "--device", "cpu")
        assert result.exit_code != 0
        shown = result.output
        assert message in shown


def test_documents_without_fields_say_so(folder: Path) -> None:
    filter = ("folders", "--filter", '{"year": 2021}', "--device", "cpu")
    result = run("search", folder / "bare", *filter)
    assert "was created without fields" in result.output
    result = run("search", folder / "emb", *filter)
    assert "does not lead to the fields" in result.output


def test_fields_of_other_documents_are_refused(folder: Path, tmp_path: Path) -> None:
    for content, message in (
        ('{"id": "x", "n": 1}\n', "has 1 ids and none of the documents, as 'a'"),
        ('{"id": "a", "n": 1}\n{"id": "a", "n": 2}\n', "has the id 'a' twice"),
    ):
        (tmp_path / "f.jsonl").write_text(content)
        arguments = ("index", "build", folder / "emb", tmp_path / "i", "--device", "cpu")
        result = run(*arguments, "--fields", tmp_path / "f.jsonl")
        assert message in result.output
        assert not (tmp_path / "i").exists()
