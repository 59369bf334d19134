"""Recipes as a person reads them: what each is for, and its text to start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from colmodern.config.read import EXTENDS, read_values
from colmodern.config.shipped import command_of, shipped_recipes
from colmodern.errors import ConfigError
from colmodern.files import read_text

_COMMENT = "#"


@dataclass(frozen=True)
class Recipe:
    """A built-in config."""

    name: str  # "sweep/plaid"
    path: Path  # a file, or a folder where it is a suite
    description: str  # a sentence

    @property
    def is_in_suite(self) -> bool:
        """Whether it is one of the files of a suite: "eval/nanobeir/colbertv2"."""
        return self.name.count("/") > 1

    @property
    def command(self) -> str:
        """The command that runs it, without the program's name: "sweep plaid"."""
        return command_of(self.name)


def list_recipes() -> list[Recipe]:
    """All recipes, in the order of their names."""
    return [Recipe(name, path, describe(path)) for name, path in shipped_recipes().items()]


def describe(path: Path) -> str:
    """What a recipe is, in a sentence: its first comment's, or else the model that it is of.

    Args:
        path: A config file, or a folder of such; a folder has its description in the file that
            its members extend, whose name begins with "_".
    """
    if not path.is_dir():
        comment = " ".join(_comment_lines(read_text(path, ConfigError)))
        values = {} if comment else read_values(path)
        encoder = values.get("encoder")
        model = encoder.get("model", "") if isinstance(encoder, dict) else ""
        return _sentence(comment) or str(model)
    shared = sorted(path.glob("_*.yaml"))
    members = [recipe.stem for recipe in shipped_recipes().values() if recipe.parent == path]
    return describe(shared[0]) if shared else f"The recipes {', '.join(members)}."


def recipe_text(path: Path) -> str:
    """A recipe as one file that can be saved anywhere, changed and run.

    One that extends others is given with their settings in it, under its own comments.

    Raises:
        ConfigError: The path is a folder; the message names what is in it.
    """
    if path.is_dir():
        members = [name for name, file in shipped_recipes().items() if file.parent == path]
        raise ConfigError(f"{path} is a suite; show one of {', '.join(members)}")
    text = read_text(path, ConfigError)
    own = yaml.safe_load(text)
    if EXTENDS not in own:
        return text
    parents = own[EXTENDS] if isinstance(own[EXTENDS], list) else [own[EXTENDS]]
    comments = [*_comment_lines(text), f"With the settings of {', '.join(parents)} in it."]
    whole = yaml.safe_dump(read_values(path), sort_keys=False, allow_unicode=True)
    return "".join(f"{_COMMENT} {line}\n" for line in comments) + whole


def _comment_lines(text: str) -> list[str]:
    """The lines of the comment that a file begins with, without their marks."""
    lines = []
    for line in text.split("\n"):
        if not line.startswith(_COMMENT):
            break
        lines.append(line.removeprefix(_COMMENT).strip())
    return lines


def _sentence(text: str) -> str:
    """The first sentence of a text."""
    first, dot, _ = text.partition(". ")
    return first + dot.strip()
