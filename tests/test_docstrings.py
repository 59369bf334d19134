"""Docstrings of public names document what their signatures have, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import colmodern
from colmodern.integrations.mteb import MtebModel

SECTIONS = r"Args|Attributes|Returns|Yields|Raises"


def public_objects() -> list[Any]:
    return [*(getattr(colmodern, name) for name in sorted(colmodern.__all__)), MtebModel]


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every function, and every public method of a class that colmodern itself defines."""
    for value in public_objects():
        if not inspect.isclass(value):
            yield value.__name__, value
            continue
        for name, _ in inspect.getmembers(value):
            member = inspect.getattr_static(value, name)
            function = getattr(member, "__func__", member)
            is_ours = str(getattr(function, "__module__", "")).startswith("colmodern.")
            if inspect.isfunction(function) and is_ours and not name.startswith("_"):
                yield f"{value.__name__}.{name}", function


def section(docstring: str | None, title: str) -> str:
    """Text of a section of a Google-style docstring, empty without one."""
    pattern = rf"^{title}:\n(.*?)(?=^(?:{SECTIONS}):\n|\Z)"
    match = re.search(pattern, inspect.cleandoc(docstring or ""), re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


def entries(docstring: str | None, title: str) -> list[str]:
    return re.findall(r"^ {4}(\*{0,2}\w+): \S", section(docstring, title), re.MULTILINE)


def parameters(function: Callable[..., Any]) -> list[str]:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(function).parameters
    return [
        stars.get(parameter.kind, "") + name
        for name, parameter in found.items()
        if name not in ("self", "cls")
    ]


FUNCTIONS = dict(public_functions())
CLASSES = [value for value in public_objects() if inspect.isclass(value)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_documented(name: str) -> None:
    assert entries(FUNCTIONS[name].__doc__, "Args") == parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_result_is_documented(name: str) -> None:
    function = FUNCTIONS[name]
    has_section = any(section(function.__doc__, title) for title in ("Returns", "Yields"))
    assert has_section is (inspect.signature(function).return_annotation != "None")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_argument_of_a_class_is_documented(kind: type) -> None:
    if issubclass(kind, Exception):
        return
    documented = entries(kind.__doc__, "Attributes") + entries(kind.__doc__, "Args")
    documented += entries(kind.__init__.__doc__, "Args")
    assert set(documented) >= set(parameters(kind))
    members = {*dir(kind), *inspect.signature(kind).parameters, *_assigned(kind)}
    assert {name.lstrip("*") for name in documented} <= members


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_property_says_what_it_is(kind: type) -> None:
    for name, value in inspect.getmembers(kind):
        if isinstance(value, property) and not name.startswith("_"):
            assert (value.__doc__ or "").splitlines()[0].endswith("."), name


def _assigned(kind: type) -> set[str]:
    """Attributes that the constructor sets."""
    if dataclasses.is_dataclass(kind) or not inspect.isfunction(kind.__init__):
        return set()
    return set(re.findall(r"self\.(\w+)\b[^=\n]*=", inspect.getsource(kind.__init__)))
