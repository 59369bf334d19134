"""Kinds of values that settings of several configs share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from colmodern.checks import shown
from colmodern.config.renamed import renamed_fields, replace_names
from colmodern.errors import ConfigError, InputError
from colmodern.reading import user_path
from colmodern.units import as_whole, parse_bytes


class SettingsModel(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _is_size(value: object, info: ValidationInfo) -> str:
    parse_bytes(str(value), name=str(info.field_name))
    return str(value)


def _expand_home(value: str) -> str:
    return str(user_path(value, InputError))


def _is_folder_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError(
            f"{shown(value)} cannot name a folder; use at most 100 letters, digits, '.', '_' and '-'"
        )
    return value


def _is_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?(,cuda(:\d+)?)*", value):
        raise ValueError("choose auto, cpu, cuda or cuda:N, or several GPUs as cuda:0,cuda:1")
    return value


def _is_single_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("choose auto, cpu, cuda or cuda:N")
    return value


def with_new_names(values: object, section: str) -> object:
    """The settings of a section under their new names; ValueError where both names are there."""
    if not isinstance(values, dict):
        return values
    try:
        return replace_names(values, renamed_fields(section))
    except ConfigError as error:
        raise ValueError(str(error)) from None


Size = Annotated[str, BeforeValidator(_is_size)]  # bytes, as 512M or 2G
PoolFactor = Annotated[float, Field(ge=1, allow_inf_nan=False), AfterValidator(as_whole)]
HomePath = Annotated[str, AfterValidator(_expand_home)]  # a path, ~ replaced
FolderName = Annotated[str, AfterValidator(_is_folder_name)]
DeviceMaxMemory = Annotated[
    Size | None,
    Field(
        description="memory that may stay in use on a GPU, for example 20G; null: most of what is free"
    ),
]
SingleDevice = Annotated[str, AfterValidator(_is_single_device)]
SearchDevice = Annotated[str, AfterValidator(_is_device)]  # or several, as cuda:0,cuda:1
