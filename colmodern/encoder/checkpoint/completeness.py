"""Detects incomplete checkpoints, such as those in a cache that another library filled."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from colmodern.encoder.checkpoint.locate import WHOLE, read_json
from colmodern.encoder.checkpoint.modules import backbone_folder, folders_of
from colmodern.errors import CheckpointError

logger = logging.getLogger(__name__)

_CONFIG = "config_sentence_transformers.json"
_PYLATE_KEYS = {"query_prefix", "document_prefix", "attend_to_expansion_tokens", "skiplist_words"}


def is_pylate_config(config: dict[str, Any]) -> bool:
    """Whether the content of config_sentence_transformers.json describes a PyLate model."""
    return config.get("model_type") == "ColBERT" or bool(_PYLATE_KEYS & config.keys())


def check_complete(folder: Path, kind: str, *, name: str, commit: str | None) -> None:
    """Warn of files that a checkpoint of this kind has and this folder lacks.

    Args:
        folder: The checkpoint's folder.
        kind: One of the four kinds, detected from the files of the folder.
        name: The name that the caller passed.
        commit: The hub's commit, None for a local folder.

    Raises:
        CheckpointError: Files are missing and the hub is off limits (HF_HUB_OFFLINE), or the files
            show that this is not a plain backbone.
    """
    if kind == "plain" and (traces := _traces(folder)):
        raise CheckpointError(
            f"{name} has {', '.join(traces)} but no modules.json ({folder}): it is an incomplete "
            f"late-interaction checkpoint; {_cure(name, commit)}"
        )
    missing = _missing(folder, kind)
    if kind == "plain" and commit is not None and not _is_plain_for_sure(folder, name, commit):
        missing = ["modules.json", "artifact.metadata"]
    if not missing:
        return
    lacks = " and ".join(missing)
    if kind == "plain":
        message = (
            f"{name} looks like a plain backbone in the hub's cache ({folder}), but the cache lacks "
            f"{lacks}, as when transformers alone filled it; a late-interaction checkpoint would be "
            f"read without its projection and settings; {_cure(name, commit)}; if it is a plain "
            "backbone, pass that folder instead of the name"
        )
    else:
        message = (
            f"{name} lacks {lacks} ({folder}), so its settings have their defaults: lengths, "
            f"markers, skiplist; {_cure(name, commit)}"
        )
    if commit is not None and _is_offline():
        raise CheckpointError(f"{message} (HF_HUB_OFFLINE is set, so nothing is fetched)")
    logger.warning("%s", message)


def _traces(folder: Path) -> list[str]:
    """Files and folders that only late-interaction checkpoints have, where modules.json is missing."""
    if (folder / "modules.json").is_file():
        return []
    config = read_json(folder / _CONFIG, missing={})
    traces = [_CONFIG] if is_pylate_config(config) else []
    traces += [_CONFIG] if config.get("model_type") == "MultiVectorEncoder" else []
    modules = (*folder.glob("*_Dense"), *folder.glob("*_MultiVectorMask"))
    return traces + sorted(f"{module.name}/" for module in modules if module.is_dir())


def _missing(folder: Path, kind: str) -> list[str]:
    if kind == "stanford":
        required = [folder / "artifact.metadata"]
    elif kind == "pylate":
        required = [folder / _CONFIG]
    elif kind == "sentence-transformers":
        masks = [mask / "config.json" for mask in folders_of(folder, "MultiVectorMask")]
        lengths = backbone_folder(folder) / "sentence_bert_config.json"
        required = [folder / _CONFIG, lengths, *masks]
    else:
        required = []
    return [str(file.relative_to(folder)) for file in required if not file.is_file()]


def _is_plain_for_sure(folder: Path, name: str, commit: str) -> bool:
    """Whether the cache has all of the hub's checkpoint, or knows that it has no modules.json."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    if any((folder / file).is_file() for file in (WHOLE, "modules.json")):
        return True
    return try_to_load_from_cache(name, "modules.json", revision=commit) is _CACHED_NO_EXIST


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _cure(name: str, commit: str | None) -> str:
    if commit is None:
        return "Fetch the checkpoint again"
    return f"fetch all of it with: hf download {name} --revision {commit}"
