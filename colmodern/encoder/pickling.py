"""Pickles encoders by name and settings; other processes load the checkpoint again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colmodern.encoder.text.settings import ROLES, Role
from colmodern.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from colmodern.encoder.encoder import Encoder


def reduce_encoder(encoder: Encoder, *, device: str | torch.device) -> tuple[object, ...]:
    """The result of ``__reduce__``: name, settings and fingerprints, but no weights.

    Args:
        encoder: The encoder to pickle.
        device: The device setting; "auto" is resolved again where the encoder is unpickled.
    """
    options = {
        "revision": encoder.checkpoint.revision,
        "device": device,
        **loading_options(encoder),
    }
    fingerprints = {role: encoder.fingerprint(role) for role in ROLES}
    return load_again, (type(encoder), encoder.checkpoint.lasting_name, options, fingerprints)


def loading_options(encoder: Encoder) -> dict[str, Any]:
    """Arguments that make ``from_pretrained`` load the same encoder, but for its name and device."""
    dim, seed = encoder.new_projection or (None, 0)
    return {
        "dtype": encoder.dtype,
        "attention": encoder.attention,
        "trust_remote_code": encoder.trust_remote_code,
        "projection_dim": dim,
        "seed": seed,
        "max_memory": encoder.max_memory,
        **encoder.settings.as_overrides(),
    }


def load_again(
    kind: type[Encoder], name: str, options: dict[str, Any], fingerprints: dict[Role, str]
) -> Encoder:
    """Load a pickled encoder.

    Args:
        kind: The encoder's class.
        name: The checkpoint's lasting name.
        options: Arguments of ``from_pretrained``.
        fingerprints: Fingerprints of the encoder that was pickled, by role.

    Raises:
        CheckpointError: The checkpoint is missing or has changed.
    """
    encoder = kind.from_pretrained(name, **options)
    if any(encoder.fingerprint(role) != before for role, before in fingerprints.items()):
        raise CheckpointError(
            f"{name} was saved anew since this encoder was pickled (its weights, tokenizer or "
            "settings differ); load it again where it is needed"
        )
    return encoder
