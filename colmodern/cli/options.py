"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from colmodern.cli import terminal
from colmodern.errors import InputError
from colmodern.files import expect_replaceable
from colmodern.reading import user_path
from colmodern.types import Score

if TYPE_CHECKING:
    from colmodern.config.models import EncoderConfig

Decorated = Callable[..., Any]


class _Path(click.Path):
    """A path of the command line; ~ is replaced, also where a shell leaves it ("--output=~/x")."""

    def __init__(self, *, is_output: bool = False) -> None:
        super().__init__(path_type=Path)
        self._is_output = is_output

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = user_path(value, InputError)
        if self._is_output:
            expect_replaceable(path)
        return path


PATH = _Path()
OUTPUT_FILE = _Path(is_output=True)  # refused before any work if no file can be written there


def expect_other_file(output: Path, inputs: Iterable[Path]) -> None:
    """UsageError where the output would replace a file that is read."""
    for path in inputs:
        if os.path.realpath(output) == os.path.realpath(path):
            raise click.UsageError(f"--output {output} would replace {path}; give another path")


def renamed_option(
    new: str, old: str, *, default: str | None = None, help: str
) -> Callable[[Decorated], Decorated]:
    """An option under its new name, whose old name works for one more version, with a note.

    The command takes it by the new name. UsageError where both are given.
    """
    name, old_name = (option.removeprefix("--").replace("-", "_") for option in (new, old))

    def decorate(function: Decorated) -> Decorated:
        @wraps(function)
        def command(**values: object) -> Any:
            old_value = values.pop(old_name)
            if old_value is not None:
                if values[name] is not None:
                    raise click.UsageError(f"{old} is the old name of {new}; give {new} alone")
                terminal.say(f"{old} is now called {new}; the old name goes with version 0.2")
                values[name] = old_value
            if values[name] is None:
                values[name] = default
            return function(**values)

        shown = help if default is None else f"{help}  [default: {default}]"
        return click.option(new, help=shown)(click.option(old, hidden=True)(command))

    return decorate


def json_option(function: Decorated) -> Decorated:
    """Add --json, passed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        function
    )


def score_option(function: Decorated) -> Decorated:
    """Add --score, how the similarities of query tokens make a score."""
    return click.option(
        "--score",
        type=click.Choice(get_args(Score)),
        default="sum",
        show_default=True,
        help="MaxSim, or its mean over query tokens, which compares between queries.",
    )(function)


def ids_to_delete(doc_ids: tuple[str, ...], from_file: Path | None) -> list[str]:
    """The ids that a command deletes: its arguments, or the lines of a file.

    Raises:
        click.UsageError: Both are given, or neither.
    """
    from colmodern.errors import DataError
    from colmodern.reading import read_lines

    if bool(doc_ids) == (from_file is not None):
        raise click.UsageError("give either the ids to delete or --from-file FILE")
    if from_file is None:
        return list(doc_ids)
    return [line for _, line in read_lines(from_file, DataError)]


def encoder_options(function: Decorated) -> Decorated:
    """Add the options that choose a model and how it runs."""
    options = [
        click.option("--model", "-m", help="Checkpoint: folder, hub name or package:NAME/FOLDER."),
        click.option("--revision", help="Hub branch, tag or commit."),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N."
        ),
        click.option("--dtype", default="float32", show_default=True, help="Type of the weights."),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override an encoder setting, for example document_length=8192, overflow=split or "
            "pool_factor=2; may repeat.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def encoder_config(
    model: str, revision: str | None, device: str, dtype: str, settings: tuple[str, ...]
) -> EncoderConfig:
    """The encoder config of the shared options.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """
    from colmodern.config.load import build, parse_overrides
    from colmodern.config.models import EncoderConfig

    values: dict[str, object] = {
        "model": model,
        "revision": revision,
        "device": device,
        "dtype": dtype,
    }
    values |= parse_overrides(settings)
    return build(EncoderConfig, values, source="command line")
