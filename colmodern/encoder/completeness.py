"""Checkpoints of which only a part is there, as in a cache that another library filled."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from colmodern.encoder.locate import WHOLE, read_json
from colmodern.encoder.modules import backbone_folder, folders_of
from colmodern.errors import CheckpointError

logger = logging.getLogger(__name__)

_ABOUT = "config_sentence_transformers.json"
_PYLATE_KEYS = {"query_prefix", "document_prefix", "attend_to_expansion_tokens", "skiplist_words"}


def is_about_pylate(about: dict[str, Any]) -> bool:
    """Whether config_sentence_transformers.json is of a PyLate model."""
    return about.get("model_type") == "ColBERT" or bool(_PYLATE_KEYS & about.keys())


def check_complete(folder: Path, kind: str, *, name: str, commit: str | None) -> None:
    """Warn of files that a checkpoint of this kind has and this folder lacks.

    Args:
        folder: Of the checkpoint.
        kind: One of the four kinds, by the files that are there.
        name: As the caller gave it.
        commit: Of the hub, None for a local folder.

    Raises:
        CheckpointError: Files are missing and the hub may not be asked (HF_HUB_OFFLINE), or what is
            there shows that this is no plain backbone.
    """
    if kind == "plain" and (traces := _traces(folder)):
        raise CheckpointError(
            f"{name} has {', '.join(traces)} but no modules.json ({folder}): it is a part of a "
            f"late-interaction checkpoint; {_cure(name, commit)}"
        )
    missing = _missing(folder, kind)
    if kind == "plain" and commit is not None and not _is_known_plain(folder, name, commit):
        missing = ["modules.json", "artifact.metadata"]
    if not missing:
        return
    lacks = " and ".join(missing)
    if kind == "plain":
        message = (
            f"{name} looks like a plain backbone in the hub's cache ({folder}), but the cache lacks "
            f"{lacks}, as where transformers alone filled it; a late-interaction checkpoint would be "
            f"read without its projection and settings. {_cure(name, commit)}; if it is a plain "
            "backbone, that folder can be given in place of the name"
        )
    else:
        message = (
            f"{name} lacks {lacks} ({folder}), so defaults stand for the settings in it: lengths, "
            f"markers, skiplist. {_cure(name, commit)}"
        )
    if commit is not None and _is_offline():
        raise CheckpointError(f"{message} (HF_HUB_OFFLINE is set, so the hub is not asked)")
    logger.warning("%s", message)


def _traces(folder: Path) -> list[str]:
    """What a late-interaction checkpoint has beside its backbone, in a folder without modules.json."""
    if (folder / "modules.json").is_file():
        return []
    about = read_json(folder / _ABOUT, missing={})
    traces = [_ABOUT] if is_about_pylate(about) else []
    traces += [_ABOUT] if about.get("model_type") == "MultiVectorEncoder" else []
    parts = (*folder.glob("*_Dense"), *folder.glob("*_MultiVectorMask"))
    return traces + sorted(f"{part.name}/" for part in parts if part.is_dir())


def _missing(folder: Path, kind: str) -> list[str]:
    if kind == "stanford":
        wanted = [folder / "artifact.metadata"]
    elif kind == "pylate":
        wanted = [folder / _ABOUT]
    elif kind == "sentence-transformers":
        masks = [part / "config.json" for part in folders_of(folder, "MultiVectorMask")]
        lengths = backbone_folder(folder) / "sentence_bert_config.json"
        wanted = [folder / _ABOUT, lengths, *masks]
    else:
        wanted = []
    return [str(file.relative_to(folder)) for file in wanted if not file.is_file()]


def _is_known_plain(folder: Path, name: str, commit: str) -> bool:
    """Whether the hub's checkpoint is here as a whole, or was asked for modules.json and has none."""
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
    return f"Fetch all of it with: hf download {name} --revision {commit}"
