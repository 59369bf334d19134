"""The documentation names what is there: folders, files, records and constants."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from colmodern.index.plaid.search import budget
from colmodern.kernels import types
from colmodern.kernels.cpu import query

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def test_every_folder_of_the_package_is_in_the_tree() -> None:
    package = ROOT / "colmodern"
    folders = {path.parent.relative_to(package) for path in package.rglob("*.py")} - {Path(".")}
    rows = re.findall(r"^\| `([a-z0-9_/]+)/` \|", ARCHITECTURE, flags=re.MULTILINE)
    assert sorted(rows) == sorted(folder.as_posix() for folder in folders)


def test_files_that_the_architecture_names_exist() -> None:
    files = [path.as_posix() for path in (ROOT / "colmodern").rglob("*") if path.is_file()]
    named = re.findall(r"`([a-z0-9_/]+(?:\.(?:py|json)|/))`", ARCHITECTURE)
    assert len(named) > 50
    for path in named:
        is_there = (ROOT / "colmodern" / path).exists() or (ROOT / path).exists()
        assert is_there or any(file.endswith(f"/{path}") for file in files), path


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: str) -> set[str]:
    """As the table of contents of Markdown names the headings, and names given by hand."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    found = set(re.findall(r"(?:\bid=\"|\{ *#)([\w.-]+)", prose))
    for heading in re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", words))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\((?!https?:|mailto:)<?([^)\s>]+)", prose):
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md" and "::: " not in target.read_text():
            assert anchor in anchors(target.read_text()), link


def test_every_page_is_in_the_menu_once() -> None:
    menu = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(menu) == sorted(pages)


def test_the_glossary_names_fields_that_exist() -> None:
    section = GLOSSARY.partition("## Terms of the compressed index")[2]
    terms = set(re.findall(r"^\| `([a-z_]+)`", section, flags=re.MULTILINE))
    records = (types.CodecArrays, types.QueryTables, types.SearchBudget)
    assert terms - {"mean"} <= {field for record in records for field in record._fields}
    assert {"unit", "reach", "error", "refine_slack", "score_slack", "rounding", "loss"} <= terms


def test_the_glossary_has_the_constants_of_the_code() -> None:
    assert (query._REFINE_REACHES, query._SCORE_REACHES) == (0.5, 2.0)
    assert f"longest centroid · {query._HEADROOM} / {query._LARGEST:,}" in GLOSSARY
    assert (
        f"{query._ROUNDING_SIGMAS:.0f} · σ / `unit` + 3 + {query._LOSS_SIGMAS:.0f} · ‖q‖"
        in GLOSSARY
    )
    assert f"(documents / {budget._MEASURED_AT:,})^{budget._GROWTH}" in GLOSSARY
    assert (
        f"max(2k, {budget._FEWEST}, ({budget._BASE} + {budget._PER_RESULT}k) · growth)" in GLOSSARY
    )
    assert f"{budget._BASE_RESCORED} in place of {budget._BASE} with stored" in GLOSSARY
    assert f"2 · `n_candidates` + {budget._GATHERED:,} · growth" in GLOSSARY
    assert f"| {budget._PROBED}; 0 up to {budget._SCANNED_TOKENS:,} tokens" in GLOSSARY
    assert f"where `n_postings` is a bound, {budget._CLUSTERS}: clusters of each" in GLOSSARY
