"""Reads modules.json, the list of modules that PyLate and sentence-transformers save."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from colmodern.checks import shown
from colmodern.errors import CheckpointError
from colmodern.files import parse_json

_CURE = "fetch the checkpoint again"


class Module(NamedTuple):
    """A module of a checkpoint."""

    type: str  # dotted name of its class
    folder: Path

    @property
    def kind(self) -> str:
        """Name of the module's class, without its package."""
        return self.type.rpartition(".")[2]


def read_modules(folder: Path) -> list[Module]:
    """The modules of a checkpoint, in the order they are applied; none without modules.json.

    Raises:
        CheckpointError: The file is not a list of modules with a backbone among them.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return []
    entries = parse_json(path, CheckpointError, cure=_CURE)
    try:
        ordered = sorted(entries, key=lambda entry: int(entry["idx"]))
        modules = [Module(str(entry["type"]), folder / str(entry["path"])) for entry in ordered]
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is not a list of modules with idx, type and path; {_CURE}"
        ) from error
    for entry in ordered:
        inside = Path(str(entry["path"]))
        is_name = all(0 < len(os.fsencode(name)) < 256 for name in inside.parts)
        if not is_name or "\0" in str(inside):
            raise CheckpointError(
                f"{path} names {shown(str(inside))}, which is not a folder; {_CURE}"
            )
        if inside.is_absolute() or ".." in inside.parts:
            raise CheckpointError(
                f"{path} names {shown(str(inside))}, which leads out of the checkpoint; {_CURE}"
            )
    if not any(module.kind == "Transformer" for module in modules):
        raise CheckpointError(f"{path} names no Transformer; colmodern needs a text backbone")
    return modules


def folders_of(folder: Path, kind: str) -> list[Path]:
    """Folders of the modules whose class has this name, in order."""
    return [module.folder for module in read_modules(folder) if module.kind == kind]


def backbone_folder(folder: Path) -> Path:
    """The folder of config.json, the tokenizer and the backbone's weights."""
    return next(iter(folders_of(folder, "Transformer")), folder)
