"""The documentation names what is there: folders, files, records and constants."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_the_glossary_names_fields_that_exist() -> None:
    section = GLOSSARY.partition("## Terms of the compressed index")[2]
    terms = set(re.findall(r"^\| `([a-z_]+)`", section, flags=re.MULTILINE))
    records = (types.CodecArrays, types.QueryTables, types.SearchBudget)
    assert terms - {"mean"} <= {field for record in records for field in record._fields}
    assert {"unit", "reach", "error", "refine_slack", "score_slack", "rounding", "loss"} <= terms


def test_the_glossary_has_the_constants_of_the_code() -> None:
    assert (query._REFINE_REACHES, query._SCORE_REACHES) == (0.5, 1.0)
    assert f"longest centroid · {query._HEADROOM} / {query._LARGEST:,}" in GLOSSARY
    assert (
        f"{query._ROUNDING_SIGMAS:.0f} · σ / `unit` + 3 + {query._LOSS_SIGMAS:.0f} · ‖q‖"
        in GLOSSARY
    )
    assert f"(documents / {budget._MEASURED_AT:,})^{budget._GROWTH}" in GLOSSARY
    assert (
        f"max(2k, {budget._FEWEST}, ({budget._BASE} + {budget._PER_RESULT}k) · growth)" in GLOSSARY
    )
    assert f"2 · `n_candidates` + {budget._GATHERED:,} · growth" in GLOSSARY
    assert f"| {budget._PROBED}; 0 up to {budget._SCANNED_TOKENS:,} tokens" in GLOSSARY
