"""Published scores, kept beside the configs that should reach them.

NAME.expected.yaml holds a list of sources for the suite NAME.yaml. A score's key is a set
("beir/scifact"), a set of parts ("beir/cqadupstack": their mean), or a suite ("beir": the average).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from colmodern.config.fields import SettingsModel
from colmodern.config.load import build
from colmodern.config.yaml_text import MAX_BYTES, parse_yaml
from colmodern.errors import ConfigError
from colmodern.nested import flatten
from colmodern.reading import read_text

Settings = dict[str, object]


class PublishedScores(SettingsModel):
    """What one source says of a model: its scores, and as much of its recipe as it states."""

    source: str = Field(description="where the figures stand")
    recipe: Settings = Field({}, description="settings as a config has them, where they are stated")
    recipe_of_sets: dict[str, Settings] = Field({}, description="the same, of single sets")
    not_stated: tuple[str, ...] = Field((), description="what the source leaves open")
    tolerance: float = Field(
        0.005,
        gt=0,
        description="largest difference that is taken for rounding and the index's chance: "
        "five builds of one index were 0.0017 apart (lightonai/pylate PR#155)",
    )
    scores: dict[str, float] = Field(
        min_length=1, description="of each set's first measure, between 0 and 1"
    )

    def recipe_of(self, row: str) -> Settings:
        """What is stated of one set: settings by their path, as "encoder.query_length"."""
        return {**flatten(self.recipe), **flatten(self.recipe_of_sets.get(row, {}))}


def load_expected(path: Path) -> list[PublishedScores]:
    """Read the published scores of a file.

    Raises ConfigError when it cannot be read or is not of the form.
    """
    text = read_text(path, ConfigError, max_bytes=4 * MAX_BYTES)
    values = parse_yaml(text, str(path), ConfigError)
    if not isinstance(values, list) or not all(isinstance(entry, dict) for entry in values):
        raise ConfigError(f"{path}: give a list of sources, each with source: and scores:")
    sources = [
        build(PublishedScores, entry, source=f"{path}: {i}") for i, entry in enumerate(values, 1)
    ]
    for source in sources:
        for key, score in source.scores.items():
            if not 0 <= score <= 1:
                raise ConfigError(f"{path}: scores.{key}: {score} is not between 0 and 1")
    return sources
