"""Telling which of the four kinds a checkpoint is, and reading all but its backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from colmodern.encoder import formats
from colmodern.encoder.checkpoint_files import CheckpointFiles, Digests
from colmodern.encoder.completeness import check_complete, is_about_pylate
from colmodern.encoder.locate import TINY, locate, read_json
from colmodern.encoder.modules import backbone_folder, folders_of, read_modules
from colmodern.encoder.projection import Layer
from colmodern.encoder.settings import EncoderSettings
from colmodern.errors import CheckpointError, ConfigError, InputError
from colmodern.files import sha256_of_json

Kind = Literal["pylate", "stanford", "sentence-transformers", "plain"]


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

    files: CheckpointFiles  # all that embeddings depend on, as they were before they were read

    @property
    def lasting_name(self) -> str:
        """A name that finds the checkpoint in any process: absolute where it is a local folder."""
        is_packaged = self.name == TINY or self.name.startswith("package:")
        return self.name if is_packaged or self.revision else str(self.folder)

    @cached_property
    def digests(self) -> Digests:
        """Digests of the files; raises CheckpointError when one was written since it was read."""
        digests = self.files.digests()
        self.files.check_unchanged()
        return digests

    @property
    def weights_sha256(self) -> str:
        """Digest over the bytes of all weight files that are read."""
        return self.digests.weights

    @property
    def rules_sha256(self) -> str:
        """Digest over what else decides an embedding: tokenizer, config, layers, code."""
        layers = [[x.activation, x.is_residual, list(x.weight.shape)] for x in self.layers]
        return sha256_of_json([self.kind, layers, self.digests.rules])


def read_checkpoint(
    name_or_path: str | Path, *, revision: str | None = None, with_code: bool = False
) -> Checkpoint:
    """Locate a checkpoint and read its settings and projection.

    name_or_path: a folder; a hub name; "package:NAME/FOLDER", a folder inside an
    installed Python package; or "colmodern/tiny", the model that colmodern brings along
    with_code: fetch the Python files of a hub checkpoint too

    Raises CheckpointError when it is not found or is of no known kind.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(
            f"the model is a {type(name_or_path).__name__}; pass a folder or a hub name as text"
        )
    folder, commit = locate(str(name_or_path), revision, with_code=with_code)
    folder = folder.resolve()  # a later chdir, or a link that is moved, must not change the model
    readers: dict[Kind, Callable[[Path, dict[str, Any]], formats.Reading]] = {
        "pylate": formats.read_pylate,
        "stanford": formats.read_stanford,
        "sentence-transformers": formats.read_sentence_transformers,
        "plain": formats.read_plain,
    }
    kind = detect_kind(folder)
    check_complete(folder, kind, name=str(name_or_path), commit=commit)
    backbone = backbone_folder(folder)
    files = CheckpointFiles(backbone, folders_of(folder, "Dense"))
    config = read_json(backbone / "config.json")
    try:
        layers, settings = readers[kind](folder, config)
    except ConfigError as error:  # a setting in the checkpoint's own files
        raise CheckpointError(f"{folder}: {error}") from error
    return Checkpoint(
        str(name_or_path), commit, kind, folder, backbone, layers, settings, config, files
    )


def detect_kind(folder: Path) -> Kind:
    """Tell the kind of a checkpoint by the files in its folder.

    Raises CheckpointError when it is none of them.
    """
    if (folder / "modules.json").is_file():
        modules = read_modules(folder)
        about = read_json(folder / "config_sentence_transformers.json", missing={})
        model_type = about.get("model_type")
        if model_type == "MultiVectorEncoder" or any(m.kind == "MultiVectorMask" for m in modules):
            return "sentence-transformers"
        if is_about_pylate(about) or any(m.type.startswith("pylate.") for m in modules):
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
