"""What an encoder's embeddings depend on: its fingerprint, and its recipe as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colmodern.encoder.text.settings import Role
from colmodern.files import sha256_of_json

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
