"""Telling which of the four kinds a checkpoint is, and reading all but its backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from colmodern.encoder import formats
from colmodern.encoder.locate import locate, read_json
from colmodern.encoder.projection import Layer
from colmodern.encoder.settings import EncoderSettings
from colmodern.errors import CheckpointError
from colmodern.files import sha256_of_file, sha256_of_json

Kind = Literal["pylate", "stanford", "sentence-transformers", "plain"]

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
    folder, commit = locate(str(name_or_path), revision, with_code=with_code)
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
