"""Writes the pages of settings and commands from the code: `make reference`.

tests/test_reference.py fails when a page is out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the pages are of this checkout, not of an installed colmodern
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- written by docs/generate.py; `make reference` writes it anew -->"
# a validator of colmodern/config/ -> what it takes
KINDS = {
    "_is_size": "size, as `2G`",
    "_expand_home": "path",
    "_is_folder_name": "name of a folder",
    "_is_device": "device",
    "_is_single_device": "device",
    "as_whole": "number",
}
NAMES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    NoneType: "`null`",
    Any: "any value",
}
BOUNDS = (
    (annotated_types.Ge, "ge", "at least"),
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Le, "le", "at most"),
    (annotated_types.Lt, "lt", "below"),
)


def settings_page() -> str:
    """Every key of every kind of configuration file."""
    from colmodern.config.cluster_plan import ClusterPlanConfig
    from colmodern.config.mine import MineConfig
    from colmodern.config.models import EvalConfig
    from colmodern.config.sweep import SweepConfig
    from colmodern.config.train import TrainConfig
    from colmodern.service.settings import ServeSettings

    parts = [
        "# Settings",
        NOTE,
        "A configuration is a YAML file. A key in a section is written below the section's name, or on "
        "the command line as `SECTION.KEY=VALUE`, for example `index.nbits=2`. A key without a default "
        "must be given. Unknown keys are refused. `extends: FILE` takes the keys of another file first.",
        "Sizes are texts, for example `512M` or `2G`. Devices are `auto`, `cpu`, `cuda` or `cuda:N`; "
        "where an index is searched, several GPUs share the documents as `cuda:0,cuda:1`.",
        "The options `--set KEY=VALUE` of `colmodern encode`, `search` and `rerank` take the keys of "
        "[encoder](#evaluation-encoder).",
    ]
    configs: dict[str, tuple[type[BaseModel], str]] = {
        "Evaluation": (EvalConfig, "`colmodern eval`, `plan`, `reproduce` and `sweep` read it."),
        "Sweep": (SweepConfig, "`colmodern sweep` reads it."),
        "Mining": (MineConfig, "`colmodern mine` reads it."),
        "Training": (TrainConfig, "`colmodern train` reads it."),
        "Planning a cluster": (
            ClusterPlanConfig,
            "`colmodern plan --cluster` takes them as KEY=VALUE.",
        ),
        "Server": (ServeSettings, "`colmodern serve --config FILE` reads it."),
    }
    done: dict[type[BaseModel], str] = {}
    for title, (model, use) in configs.items():
        parts += _config(title, model, use, done)
    return "\n\n".join(parts) + "\n"


def _config(
    title: str, model: type[BaseModel], use: str, done: dict[type[BaseModel], str]
) -> Iterator[str]:
    """A kind of file: its own keys, then each section that no earlier one has."""
    yield f"## {title}"
    text, fields = _own_fields(model, done)
    yield f"{_first_paragraph(model)} {use}{text}"
    done[model] = title
    sections: dict[str, type[BaseModel]] = {}
    for name, field in fields.items():
        for section in _models(field.annotation):
            kind = section.model_fields.get("kind")
            has_kind = kind is not None and isinstance(kind.default, str)
            heading = f"{title}: {name}" + (f", {kind.default}" if has_kind else "")
            if section not in done:
                done[section] = heading
                sections[heading] = section
    yield _table(fields, done)
    for heading, section in sections.items():
        yield f"### {heading}"
        text, fields = _own_fields(section, done)
        yield _first_paragraph(section) + text
        yield _table(fields, done)


def _own_fields(
    model: type[BaseModel], done: dict[type[BaseModel], str]
) -> tuple[str, dict[str, FieldInfo]]:
    """The keys that no model above it has, and a sentence on those that one has."""
    bases = [base for base in model.__mro__[1:] if base in done]
    if not bases:
        return "", dict(model.model_fields)
    inherited = bases[0].model_fields
    own = {name: field for name, field in model.model_fields.items() if name not in inherited}
    title = done[bases[0]]
    return f" It has the keys of [{title}](#{_anchor(title)}), and these.", own


def _table(fields: dict[str, FieldInfo], done: dict[type[BaseModel], str]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        models = _models(field.annotation)
        if models:
            titles = [done[model] for model in models]
            links = [f"[{t.partition(': ')[2]}](#{_anchor(t)})" for t in titles]
            links += [_value(member) for member in _one_values(field.annotation)]
            is_list = get_origin(field.annotation) is tuple
            value = ("list of " if is_list else "") + "; or ".join(links)
            value += "; or `null`" if NoneType in get_args(field.annotation) else ""
        else:
            value = _value(field.annotation, tuple(field.metadata))
        meaning = _sentence(field.description or _first_paragraph(models[0]))
        rows.append(f"| `{name}` | {_cell(value)} | {_default(field)} | {_cell(meaning)} |")
    return "\n".join(rows)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections among the members of a type."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = get_args(annotation)
    inner = inner[:1] if get_origin(annotation) is Annotated else inner
    return [] if get_origin(annotation) is Literal else [m for a in inner for m in _models(a)]


def _one_values(annotation: Any) -> list[Any]:
    """The members of a type that are no sections, as the path among kinds of index."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return [value for member in inner for value in _one_values(member)]
    if annotation is NoneType or annotation is Ellipsis or _models(annotation):
        nested = inner[:1] if origin in (Annotated, tuple) else ()
        return [value for member in nested for value in _one_values(member)]
    return [annotation]


def _value(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """What a key takes, in words."""
    for item in metadata:
        validator = getattr(getattr(item, "func", None), "__name__", "")
        if validator in KINDS and get_origin(annotation) not in (Union, UnionType):
            return KINDS[validator] + _bounds(metadata)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(inner[0], (*inner[1:], *metadata))
    if origin in (Union, UnionType):
        others = [item for item in inner if item is not NoneType]
        words = "; or ".join(_value(item, metadata) for item in others)
        return f"{words}; or `null`" if len(others) < len(inner) else words
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in inner)
    if origin is tuple:
        item = _value(inner[0])
        return f"list of ({item})" if re.search("[,;]| or ", item) else f"list of {item}"
    if origin is dict:
        return f"{_value(inner[1])} by {_value(inner[0])}"
    return NAMES[annotation] + _bounds(metadata)


def _bounds(metadata: tuple[Any, ...]) -> str:
    """Limits of a number; they may stand alone or inside a Field."""
    flat = [part for item in metadata for part in getattr(item, "metadata", [item])]
    found = [
        f"{words} {_limit(getattr(item, name))}"
        for item in flat
        for kind, name, words in BOUNDS
        if isinstance(item, kind)
    ]
    return "".join(f", {words}" for words in found)


def _limit(value: float) -> str:
    """A number; the large limits are powers of two."""
    for offset, words in ((0, ""), (1, " - 1")):
        power = int(value) + offset
        if power >= 1 << 31 and power & (power - 1) == 0:
            return f"2^{power.bit_length() - 1}{words}"
    return f"{value:,}"


def _default(field: FieldInfo) -> str:
    """The default as YAML has it, nothing where the key must be given."""
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return f"`kind: {kind}`" if kind else "its defaults"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    return f'`"{value}"`' if isinstance(value, str) and not value.strip() else f"`{value}`"


def commands_page() -> str:
    """Every command with its usage and options."""
    from colmodern.cli.main import cli

    parts = [
        "# Commands",
        NOTE,
        "`colmodern COMMAND --help` prints the same. Every command takes `--debug`, which shows the "
        "traceback of an error, and `-h` or `--help`. Results go to stdout, everything else to stderr.",
        "| exit status | meaning |\n|---|---|\n| 0 | the work is done |\n| 1 | a bug of colmodern |\n"
        "| 2 | an error that the caller can fix |\n| 3 | the work ended, and some of it failed |\n"
        "| 130 | interrupted |\n| 141 | the reader of the output ended first |",
    ]
    parts += _group(cli, "colmodern", level=2)
    return "\n\n".join(parts) + "\n"


def _group(group: click.Group, path: str, level: int) -> Iterator[str]:
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:  # an old name
            continue
        yield from _command(command, f"{path} {name}", level)
        if isinstance(command, click.Group):
            yield from _group(command, f"{path} {name}", level + 1)


def _command(command: click.Command, path: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield f"{'#' * level} {path}"
    usage = command.collect_usage_pieces(context)
    yield f"```text\n{' '.join([path, *usage])}\n```"
    yield from _paragraphs(command.help or "")
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and option.name != "debug"
    ]
    if options:
        rows = ["| option | value | default | meaning |", "|---|---|---|---|"]
        yield "\n".join([*rows, *(_option(option, context) for option in options)])


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    meaning, _, shown = (option.help or "").partition("  [default: ")
    default = shown.rstrip("]")
    if not default and option.show_default:
        default = str(option.get_default(context))
        default = _flag(option, default) if option.is_flag else default
    value = "" if option.is_flag else _option_value(option, context)
    value += ", may repeat" if option.multiple else ""
    code = f"`{default}`" if default else ""
    return f"| {names} | {_cell(value)} | {code} | {_cell(_sentence(meaning))} |"


def _flag(option: click.Option, default: str) -> str:
    return (option.opts if default == "True" else option.secondary_opts or ["off"])[0]


def _option_value(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    words = {"integer": "integer", "integer range": "integer", "float": "number", "text": "text"}
    return (option.metavar and f"`{option.metavar}`") or words.get(
        option.type.name, option.type.name
    )


def _paragraphs(help_text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(help_text).replace("\f", "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield f"```text\n{paragraph[2:]}\n```"
        else:
            yield " ".join(paragraph.split()).replace("<", "&lt;")


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split())


def _anchor(heading: str) -> str:
    """As the table of contents of Markdown names a heading."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _sentence(text: str) -> str:
    """A text as a sentence: with a capital and a full stop."""
    text = text.strip()
    begins_with_word = re.match(r"(?!auto\b)[a-z]+[ ,;.]", text)
    capital = text[:1].upper() + text[1:] if begins_with_word else text
    return capital if capital.endswith(".") or not capital else f"{capital}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
