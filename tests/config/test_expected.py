from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.expected import load_expected
from colmodern.errors import ConfigError

SOURCE = """
- source: a paper
  recipe: {encoder: {query_length: 32}, search: {k: 100}}
  recipe_of_sets: {beir/arguana: {encoder: {query_length: 64}}}
  scores: {beir: 0.5, beir/arguana: 0.4}
"""


def load(tmp_path: Path, text: str) -> list:
    (tmp_path / "m.expected.yaml").write_text(text)
    return load_expected(tmp_path / "m.expected.yaml")


def test_the_recipe_of_a_set_is_over_that_of_the_source(tmp_path: Path) -> None:
    [published] = load(tmp_path, SOURCE)
    assert published.recipe_of("beir/nq") == {"encoder.query_length": 32, "search.k": 100}
    assert published.recipe_of("beir/arguana")["encoder.query_length"] == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scores: {}", "give a list of sources"),
        ("- {source: x}", r"m\.expected\.yaml: 1: scores: missing"),
        ("- {source: x, scores: {a: 51.3}}", r"scores\.a: 51\.3 is not between 0 and 1"),
        ("- {source: x, scores: {a: 0.5}, score: 1}", "score: unknown key"),
        ("- {", "not valid YAML"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)
