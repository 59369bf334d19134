"""Locates a checkpoint's folder on disk, in a package or on the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from colmodern.checks import shown
from colmodern.errors import CheckpointError
from colmodern.files import read_json_object
from colmodern.optional import package_folder
from colmodern.reading import user_path

# files that any kind needs; ONNX and OpenVINO copies of the weights stay on the hub
_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "artifact.metadata"]
# a file of every hub repository that no library fetches on its own: where a cache has it, all of
# the checkpoint was fetched
WHOLE = ".gitattributes"
_IGNORED = ["onnx/*", "openvino/*"]
_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
TINY = "colmodern/tiny"  # the model inside this package


def is_packaged(name: str) -> bool:
    """Whether a model's name means a folder inside an installed package."""
    return name == TINY or name.startswith("package:")


def read_json(path: Path, *, missing: dict[str, object] | None = None) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Args:
        path: The file.
        missing: The result where there is no such file; None makes that an error.

    Raises:
        CheckpointError: The file is missing or damaged; the message names it.
    """
    if missing is not None and not path.is_file():
        return missing
    return read_json_object(path, CheckpointError, cure="fetch the checkpoint again")


def read_fields(
    path: Path, kinds: Mapping[str, type], *, missing: dict[str, object] | None = None
) -> dict[str, Any]:
    """Read a JSON object of a checkpoint whose fields have these types, or are null or absent.

    Args:
        path: The file.
        kinds: A type by field, float for any finite number; other fields are not checked.
        missing: The result where there is no such file; None makes that an error.

    Raises:
        CheckpointError: The file is missing or damaged; the message names it and the field.
    """
    fields = read_json(path, missing=missing)
    for name, kind in kinds.items():
        value = fields.get(name)
        is_right = isinstance(value, int | float if kind is float else kind)
        if isinstance(value, bool) or (isinstance(value, float) and not isfinite(value)):
            is_right = False
        if value is not None and not is_right:
            raise CheckpointError(
                f"{path}: {name} is {shown(value)}, not {_KINDS[kind]}; fetch the checkpoint again"
            )
    return fields


def locate(name: str, revision: str | None, *, with_code: bool) -> tuple[Path, str | None]:
    """Locate a checkpoint, and fetch it from the hub if need be.

    Args:
        name: A folder, a hub name, "package:NAME/FOLDER", or TINY, the model in this package.
        revision: Branch, tag or commit on the hub.
        with_code: Whether to fetch Python files too.

    Returns:
        The folder, and the hub's commit or None.

    Raises:
        CheckpointError: There is no such checkpoint.
        MissingExtraError: The package is not installed.
    """
    if not name.strip():
        raise CheckpointError(f"the model's name is {name!r}; give a folder or a hub name")
    if name == TINY:
        return package_folder("colmodern") / "tiny", None
    if name.startswith("package:"):
        package, _, inside = name.removeprefix("package:").partition("/")
        folder = package_folder(package) / inside
        if not folder.is_dir():
            raise CheckpointError(f"{name}: the package has no folder {inside!r}")
        return folder, None
    folder = user_path(name, CheckpointError)
    if os.path.isdir(folder):
        return folder, None
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"no folder {name}; give a checkpoint's folder or a hub name")
    return _download(name, revision, [*_PATTERNS, WHOLE, *(["*.py"] if with_code else [])])


def _download(name: str, revision: str | None, patterns: list[str]) -> tuple[Path, str | None]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=patterns, ignore_patterns=_IGNORED
            )
        )
        pickled = [f"{d.name}/*.bin" for d in folder.glob("*_Dense") if not _is_safe(d)]
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("*/*.safetensors")):
            pickled = ["*.bin"]
        if pickled:
            snapshot_download(
                name, revision=revision, allow_patterns=pickled, ignore_patterns=_IGNORED
            )
    except (OSError, ValueError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"no folder {name}, and the hub gave no model of that name "
            f"(revision={revision or 'main'}). Check the name and your connection, or fetch it "
            f"elsewhere with: hf download {name}. The hub's error was: {reason}"
        ) from error
    return folder, folder.name  # the hub names a snapshot's folder by its commit


def _is_safe(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file()
