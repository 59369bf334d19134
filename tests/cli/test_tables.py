from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from colmodern.cli.tables import show
from colmodern.report.tables import text_table

SETS = [f"nanobeir/nano-{name}" for name in ("climate-fever", "dbpedia", "touche2020")]
MODELS = ["modernbert-base", "modernbert-large", "gte-modern-colbert", "answerai-small", "a", "b"]
SUITE = text_table("", ["nDCG@10", *MODELS], [[name, *["0.1234"] * 6] for name in SETS])
DOCUMENT = "document-with-a-long-name-0003-of-the-collection"
RESULTS = text_table(
    "",
    ["rank", "score", "document", "text"],
    [["1", "4.69", DOCUMENT, "words " * 30]],
    words=(2, 3),
)


def drawn(*tables, width: int, prose=()) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    show(*tables, prose=prose, console=console)
    return re.sub(r"\x1b\[\d*m", "", console.file.getvalue())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_names_and_numbers_are_whole_at_every_width(width: int) -> None:
    out = drawn(SUITE, width=width)
    for name in SETS:
        assert name in out
    assert out.count("0.1234") == 18
    assert "…" not in out
    for model in MODELS[:4]:
        assert all(word in out for word in re.split(r"\s+", model))
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 80, 120])
def test_an_id_is_whole_and_a_text_gives_way(width: int) -> None:
    out = drawn(RESULTS, width=width, prose=(3,))
    assert DOCUMENT in out
    assert out.count("words") == 30
    assert "4.69" in out


def test_a_table_without_rows_is_its_note() -> None:
    empty = text_table("Changes", ["query", "x"], [], note="No query changed.")
    assert drawn(empty, width=80).split("\n")[0] == "No query changed."


def test_a_pipe_gets_a_row_a_line_and_tabs_between_cells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = text_table("Scores", ["", "x"], [["a\tb\n", "1"]], note="of one")
    show(odd, SUITE)
    assert capsys.readouterr().out.splitlines()[:6] == [
        "# Scores",
        "\tx",
        "a\\tb\\n\t1",
        "# of one",
        "",
        "\t".join(SUITE.header),
    ]
