"""What an encoder's embeddings depend on: its fingerprint, and its recipe as plain values."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from colmodern.encoder.checkpoint.locate import is_packaged
from colmodern.encoder.text.settings import EncoderSettings, Role
from colmodern.files import sha256_of_json
from colmodern.ragged.manifest import EncoderRecord

if TYPE_CHECKING:
    from colmodern.encoder.encoder import Encoder

_FORMAT = 1  # bump when the same checkpoint and settings give other embeddings


def fingerprint_of(encoder: Encoder, role: Role) -> str:
    """Digest of all that an encoder's embeddings of this role depend on, except hardware."""
    is_masked = role == "document" or encoder.settings.skip_in_queries
    masked = (
        {"skiplist_ids": encoder.tokenizer.skiplist_ids.tolist()}
        if is_masked and encoder.tokenizer.masks_other_ids
        else {}
    )
    return sha256_of_json(
        {
            **masked,
            "format": _FORMAT,
            "weights": encoder.weights_sha256,
            "rules": encoder.checkpoint.rules_sha256,
            "projection": encoder.new_projection,
            "settings": encoder.settings.of(role),
            "dtype": encoder.dtype,
            "attention": encoder.attention,
        }
    )


def describe(encoder: Encoder) -> dict[str, Any]:
    """An encoder's kind, sizes, settings and checksums as plain values."""
    dim, seed = encoder.new_projection or (None, 0)
    checkpoint = encoder.checkpoint
    return {
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "path": str(checkpoint.folder),
        "kind": checkpoint.kind,
        "backbone": checkpoint.config.get("model_type"),
        "dim": encoder.dim,
        "projection_dim": dim,
        "seed": seed,
        "device": encoder.device,
        "dtype": encoder.dtype,
        "attention": encoder.attention,
        "weights_sha256": encoder.weights_sha256,
        "fingerprint": encoder.fingerprint("document"),
        "settings": encoder.settings.as_overrides(),
    }


def unknown_settings(record: EncoderRecord) -> list[str]:
    """Recorded settings that no encoder of this version has, in order of their names."""
    return sorted(record.settings.keys() - {field.name for field in fields(EncoderSettings)})


def recorded_arguments(record: EncoderRecord) -> dict[str, Any]:
    """What loads a recorded encoder again, as ``Encoder.from_pretrained`` and configs name it.

    A model in a folder of its own is taken from there; all others are found by their names.
    """
    names = ("revision", "dtype", "attention", "projection_dim", "seed")
    model = str(record.model)
    is_local = record.revision is None and not is_packaged(model)
    return {
        **record.settings,
        **{name: getattr(record, name) for name in names},
        "model": record.path if is_local and record.path is not None else model,
    }
