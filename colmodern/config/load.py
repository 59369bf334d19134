"""From a YAML file and ``key.path=value`` overrides to a checked config."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from colmodern.checks import shown
from colmodern.config.models import EvalConfig
from colmodern.config.read import read_values, with_registry
from colmodern.config.renamed import current_key, expect_one_name
from colmodern.config.yaml_text import MAX_DEPTH, parse_yaml
from colmodern.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MOST_FAULTS = 20  # faults that one message lists
_LONGEST_KEY = 100
SETS = "sets"  # key of a file that describes an evaluation for each of many data sets
Config = TypeVar("Config", bound=BaseModel)


def load_eval_config(path: Path | str, overrides: Sequence[str] = ()) -> EvalConfig:
    """Read an evaluation's config, and what it extends; its name is the file's unless it has one.

    Args:
        path: YAML file of the evaluation.
        overrides: Settings to replace, as "search.k=50"; values are YAML.

    Raises:
        ConfigError: A setting is wrong; the message has all faults at once.
    """
    path = Path(path)
    values = read_values(path)
    if SETS in values:
        sets = values[SETS]
        n_sets = len(sets) if isinstance(sets, dict | list) else "no"
        raise ConfigError(f"{path} is of {n_sets} data sets; `colmodern eval {path}` runs them all")
    values = with_registry(path, {"name": path.stem, **values})
    return build(
        EvalConfig, parse_overrides(overrides, values), source=str(path), overrides=overrides
    )


def parse_overrides(
    overrides: Sequence[str], values: dict[str, object] | None = None
) -> dict[str, object]:
    """Put "key.path=value" overrides into nested values, which are changed and returned.

    A number in the path is an entry of a list that is there, counted from 0: "data.0.max_rows=100".

    Raises ConfigError for an override of another form, and for an entry that a list does not have.
    """
    values = {} if values is None else values
    expect_one_name(override.partition("=")[0] for override in overrides)
    for override in overrides:
        _apply(values, override)
    return values


def build(
    model: type[Config], values: Mapping[str, object], *, source: str, overrides: Sequence[str] = ()
) -> Config:
    """Check values against a config model.

    source: what the values are from, for messages
    overrides: those already in the values; a fault of theirs begins with "override"

    Raises ConfigError that lists every fault as source: key: what and how to mend it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # a list is also called too short when none of its entries is right
        wrong = [fault["loc"] for fault in error.errors() if fault["type"] != "too_short"]
        errors = [
            fault
            for fault in error.errors()
            if fault["type"] != "too_short"
            or not any(loc[: len(fault["loc"])] == fault["loc"] for loc in wrong)
        ]
        keys = [override.partition("=")[0] for override in overrides]
        faults = [_message(model, fault, source, keys) for fault in errors[:_MOST_FAULTS]]
        if len(errors) > _MOST_FAULTS:
            faults.append(f"{source}: {len(errors) - _MOST_FAULTS} more faults of this kind")
        raise ConfigError("\n".join(faults)) from error


def dump(config: BaseModel, *, without: Collection[str] = ()) -> str:
    """YAML of every setting but some, defaults included, in the order of the models."""
    values = config.model_dump(mode="json", exclude=set(without))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _apply(values: dict[str, object], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {shown(override)} is not of the form key.path=value")
    value = parse_yaml(text, f"override {shown(override)}: the value", ConfigError)
    *parents, last = current_key(key).split(".")
    if len(parents) >= MAX_DEPTH:
        raise ConfigError(
            f"override {shown(override)} names a setting {len(parents)} levels deep; there is none"
        )
    node: Any = values
    for parent in parents:
        node = _inner(node, parent, override)
    if isinstance(node, list):
        node[_index(node, last, override)] = value
    else:
        node[last] = value


def _inner(node: Any, key: str, override: str) -> Any:
    """The settings or the list at a key of settings, which is made, or at a number of a list."""
    is_list = isinstance(node, list)
    inner = node[_index(node, key, override)] if is_list else node.setdefault(key, {})
    if not isinstance(inner, dict | list):
        raise ConfigError(f"override {shown(override)}: {key} is a single value, it has no keys")
    return inner


def _index(entries: Sequence[object], key: str, override: str) -> int:
    if not key.isdecimal():
        raise ConfigError(
            f"override {shown(override)}: {key!r} is not a number, where a list is; its entries are "
            "counted from 0"
        )
    if int(key) >= len(entries):
        held = f"entries 0 to {len(entries) - 1}" if entries else "no entries"
        raise ConfigError(
            f"override {shown(override)}: there is no entry {key}, the list has {held}; give the whole "
            "list to add one"
        )
    return int(key)


def _message(
    model: type[BaseModel], fault: ErrorDetails, source: str, overridden: Sequence[str]
) -> str:
    """A fault after its source: the file, or the override that gave the setting."""
    path = ".".join(_locate(model, fault["loc"])[0])
    is_override = any(f"{path}.".startswith(f"{key}.") for key in overridden)
    return (
        f"override {_describe(model, fault)}"
        if is_override
        else f"{source}: {_describe(model, fault)}"
    )


def _describe(model: type[BaseModel], fault: ErrorDetails) -> str:
    keys, owner = _locate(model, fault["loc"])
    path = ".".join(_key(key) for key in keys)
    if fault["type"] == "extra_forbidden":
        known = list(owner.model_fields)
        close = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        kind = f" of kind {fault['loc'][-2]}" if len(keys) < len(fault["loc"]) else ""
        if kind and not close and (other := _other_kind(fault["loc"][:-1], keys[-1], model)):
            hint = f"{other} has it: set {'.'.join(keys[:-1])}.kind={other}"
        return f"{path}: unknown key{kind}; {hint}"
    if fault["type"] == "missing":
        return f"{path}: missing; give it a value"
    if fault["type"] == "union_tag_invalid":
        tag = fault["ctx"]["discriminator"].strip("'")
        known, written = fault["ctx"]["expected_tags"], fault["ctx"]["tag"]
        return f"{path}.{tag}: choose one of {known} (given: {shown(written)})"
    if fault["type"] in ("model_type", "model_attributes_type"):
        example = "{kind: " + str(fault["input"]) + "}" if path == "index" else "{key: value}"
        return f"{path}={shown(fault['input'])} is one value, it has keys; write {path}='{example}'"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] in ("too_short", "too_long"):
        bounds = fault["ctx"]
        least, most = bounds.get("min_length"), bounds.get("max_length")
        wanted = f"at least {least:,}" if most is None else f"at most {most:,}"
        message = f"list {wanted} entries; it has {bounds['actual_length']:,}"
    if fault["type"] == "tuple_type":
        message = f"pass a list, as {path}='[{fault['input']}]'"
    written = (
        "" if isinstance(fault["input"], dict | BaseModel) else f" (given: {shown(fault['input'])})"
    )
    return f"{path}: {message}{written}" if path else f"{message}{written}"


def _other_kind(loc: tuple[int | str, ...], key: str, model: type[BaseModel]) -> str | None:
    """The kind of a section that has a key; None where no kind has it or the section is deeper."""
    section = model.model_fields.get(str(loc[0])) if len(loc) == 2 else None
    kinds = get_args(section.annotation) if section else ()
    return next((str(x.model_fields["kind"].default) for x in kinds if key in x.model_fields), None)


def _key(key: str) -> str:
    """A key as it was written, unless it cannot be shown or is long."""
    return key if key.isprintable() and len(key) <= _LONGEST_KEY else shown(key)


def _locate(
    model: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[list[str], type[BaseModel]]:
    """The keys as a person wrote them, and the model that the last one belongs to."""
    keys: list[str] = []
    owner, models = model, [model]
    for key in loc:
        if isinstance(key, int):  # an entry of a list
            keys.append(str(key))
            continue
        if len(models) > 1:  # pydantic names the kind between the keys, where it decides the model
            models = [
                candidate for candidate in models if candidate.model_fields["kind"].default == key
            ]
            continue
        owner = models[0] if models else owner
        keys.append(str(key))
        field = owner.model_fields.get(str(key))
        models = _models_in(field.annotation) if field else []
    return keys, owner


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """The sections among the members of a type, of whatever depth."""
    # Python 3.10 takes list[int] for a type
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
