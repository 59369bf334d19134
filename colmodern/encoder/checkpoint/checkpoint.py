"""Detects a checkpoint's kind, one of four, and reads all of it but its backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from colmodern.encoder.checkpoint import formats
from colmodern.encoder.checkpoint.completeness import check_complete, is_pylate_config
from colmodern.encoder.checkpoint.files import CheckpointFiles, Digests
from colmodern.encoder.checkpoint.locate import is_packaged, locate, read_fields, read_json
from colmodern.encoder.checkpoint.modules import backbone_folder, folders_of, read_modules
from colmodern.encoder.checkpoint.projection import Layer
from colmodern.encoder.text.settings import EncoderSettings
from colmodern.errors import CheckpointError, ConfigError, InputError
from colmodern.files import sha256_of_json

Kind = Literal["pylate", "stanford", "sentence-transformers", "plain"]


@dataclass(frozen=True)
class Checkpoint:
    """A model's projection, settings and files; its backbone is not loaded."""

    name: str  # the name or path that the caller passed
    revision: str | None  # the hub's commit, None for a local folder
    kind: Kind
    folder: Path
    backbone: Path  # holds config.json, tokenizer and the backbone's weights
    layers: tuple[Layer, ...]  # the projection, applied in order
    settings: EncoderSettings
    config: dict[str, Any]  # the backbone's config.json

    files: CheckpointFiles  # every file that embeddings depend on, in its state before reading

    @property
    def lasting_name(self) -> str:
        """A name that finds the checkpoint from any process: absolute for a local folder."""
        return self.name if is_packaged(self.name) or self.revision else str(self.folder)

    def settings_with(self, changes: Mapping[str, object]) -> EncoderSettings:
        """The checkpoint's settings with other values in some fields, checked for its backbone.

        Args:
            changes: Field -> value, as in ``EncoderSettings.override``.

        Raises:
            ConfigError: A field is unknown, or a value does not fit the backbone.
        """
        longest = formats.longest_input(self.config)
        settings = self.settings.clipped(longest=longest).override(changes)
        settings.check(longest=longest)
        return settings

    @cached_property
    def digests(self) -> Digests:
        """Digests of the files.

        Raises:
            CheckpointError: A file was written since it was read.
        """
        digests = self.files.digests()
        self.files.check_unchanged()
        return digests

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the bytes of all weight files, in hexadecimal."""
        return self.digests.weights

    @property
    def rules_sha256(self) -> str:
        """SHA-256 over all else that embeddings depend on: tokenizer, config, layers, code."""
        layers = [[x.activation, x.is_residual, list(x.weight.shape)] for x in self.layers]
        return sha256_of_json([self.kind, layers, self.digests.rules])


def read_checkpoint(
    name_or_path: str | Path, *, revision: str | None = None, with_code: bool = False
) -> Checkpoint:
    """Locate a checkpoint and read its settings and projection.

    Args:
        name_or_path: A folder; a hub name; "package:NAME/FOLDER", a folder in an installed Python
            package; or "colmodern/tiny", the model inside colmodern.
        revision: Branch, tag or commit on the hub.
        with_code: Whether to fetch the Python files of a hub checkpoint too.

    Raises:
        CheckpointError: There is no such checkpoint, or its kind is unknown.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(
            f"the model is a {type(name_or_path).__name__}; pass a folder or a hub name as text"
        )
    folder, commit = locate(str(name_or_path), revision, with_code=with_code)
    folder = folder.resolve()  # a later chdir, or a moved link, must not change the model
    readers: dict[Kind, Callable[[Path, dict[str, object]], formats.Reading]] = {
        "pylate": formats.read_pylate,
        "stanford": formats.read_stanford,
        "sentence-transformers": formats.read_sentence_transformers,
        "plain": formats.read_plain,
    }
    kind = detect_kind(folder)
    check_complete(folder, kind, name=str(name_or_path), commit=commit)
    backbone = backbone_folder(folder)
    files = CheckpointFiles(backbone, folders_of(folder, "Dense"))
    config = read_fields(backbone / "config.json", formats.CONFIG)
    try:
        layers, settings = readers[kind](folder, config)
    except ConfigError as error:  # the checkpoint's own files have a wrong setting
        raise CheckpointError(f"{folder}: {error}") from error
    return Checkpoint(
        str(name_or_path), commit, kind, folder, backbone, layers, settings, config, files
    )


def detect_kind(folder: Path) -> Kind:
    """The kind of a checkpoint, by the files in its folder.

    Raises:
        CheckpointError: The checkpoint is of no known kind.
    """
    if (folder / "modules.json").is_file():
        modules = read_modules(folder)
        config = read_json(folder / "config_sentence_transformers.json", missing={})
        model_type = config.get("model_type")
        if model_type == "MultiVectorEncoder" or any(m.kind == "MultiVectorMask" for m in modules):
            return "sentence-transformers"
        if is_pylate_config(config) or any(m.type.startswith("pylate.") for m in modules):
            return "pylate"
        return "plain"
    if (folder / "artifact.metadata").is_file():
        return "stanford"
    if (folder / "config.json").is_file():
        config = read_fields(folder / "config.json", formats.CONFIG)
        if "HF_ColBERT" in (config.get("architectures") or []):
            return "stanford"
        if "model_type" in config:
            return "plain"
    names = ", ".join(sorted(f.name for f in folder.iterdir())[:8]) or "nothing"
    raise CheckpointError(
        f"{folder} is a checkpoint of an unknown kind (found {names}); colmodern reads PyLate and "
        "sentence-transformers multi-vector (modules.json), Stanford ColBERT (artifact.metadata) and "
        "plain transformers backbones (config.json with model_type)"
    )
