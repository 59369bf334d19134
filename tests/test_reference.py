"""The reference lists what is public and is up to date with the code."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from pydantic import BaseModel

import colmodern
from colmodern.cli.main import cli

ROOT = Path(__file__).parents[1]
LISTED = [
    name
    for page in sorted((ROOT / "docs" / "reference" / "api").glob("*.md"))
    for name in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)
]


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("generate")
    sys.path.remove(str(ROOT / "docs"))


@pytest.mark.parametrize("name", ["settings.md", "commands.md"])
def test_pages_written_from_the_code_are_up_to_date(name: str, generate: ModuleType) -> None:
    page = (ROOT / "docs" / "reference" / name).read_text()
    assert page == generate.PAGES[name](), f"{name} is out of date; run: make reference"


def test_the_reference_lists_every_public_name_once() -> None:
    assert len(set(LISTED)) == len(LISTED)
    names = {name.removeprefix("colmodern.") for name in LISTED if name.count(".") == 1}
    assert names == set(colmodern.__all__)


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def classes_in(annotation: Any) -> Iterator[type]:
    for inner in typing.get_args(annotation):
        yield from classes_in(inner)
    kind = typing.get_origin(annotation) or annotation
    if inspect.isclass(kind) and kind.__module__.startswith("colmodern."):
        yield kind


def returned(value: Any) -> Iterator[type]:
    """Classes of ours that a function returns, or that the fields and methods of a class are."""
    if not inspect.isclass(value):
        yield from classes_in(typing.get_type_hints(value, localns=NAMES).get("return"))
        return
    if not issubclass(value, Exception):
        for annotation in typing.get_type_hints(value, localns=NAMES).values():
            yield from classes_in(annotation)
    for name in dir(value):
        member = inspect.getattr_static(value, name)
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(function) and not name.startswith("_"):
            names = {**vars(importlib.import_module(function.__module__)), **NAMES, "Self": value}
            hint = function.__annotations__.get("return", "None")
            yield from classes_in(eval(hint, names) if isinstance(hint, str) else hint)


# names that only type checkers import
NAMES = {
    **{name: found(f"colmodern.{name}") for name in ("EmbeddingStore", "Encoder")},
    "FastAPI": found("fastapi.FastAPI"),
    "np": importlib.import_module("numpy"),
    "npt": importlib.import_module("numpy.typing"),
    "ServeSettings": found("colmodern.service.settings.ServeSettings"),
}


def test_the_reference_lists_what_public_functions_return() -> None:
    listed = {found(name) for name in LISTED}
    for value in listed:
        for kind in returned(value):
            is_settings = issubclass(kind, BaseModel)  # these are in settings.md
            assert kind in listed or is_settings, f"{value.__name__} gives a {kind.__name__}"


def test_every_setting_has_a_meaning(generate: ModuleType) -> None:
    rows = re.findall(r"^\| `.*\|$", generate.settings_page(), flags=re.MULTILINE)
    assert len(rows) > 100
    for row in rows:
        meaning = row.rstrip(" |").rpartition("| ")[2]
        assert re.match(r"\S.*\.$", meaning), row
        assert not re.match(r"(Of|That|Which|As|The same)\b", meaning), row


def test_every_option_says_what_it_does() -> None:
    def commands(group: click.Group) -> Iterator[click.Command]:
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            yield command
            if isinstance(command, click.Group):
                yield from commands(command)

    for command in commands(cli):
        assert command.help, command.name
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{command.name} {option.name}"
