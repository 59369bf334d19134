"""Encoders in other processes: pickled by name and settings, loaded again where they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colmodern.encoder.settings import ROLES, Role
from colmodern.errors import CheckpointError

if TYPE_CHECKING:
    from colmodern.encoder.encoder import Encoder


def reduce_encoder(encoder: Encoder, *, device: Any) -> tuple[Any, ...]:
    """Build what ``__reduce__`` returns: name, settings and fingerprints, but no weights.

    Args:
        encoder: The encoder to pickle.
        device: As it was asked for; "auto" is chosen anew where the encoder is unpickled.
    """
    dim, seed = encoder.new_projection or (None, 0)
    options = {
        "revision": encoder.checkpoint.revision,
        "device": device,
        "dtype": encoder.dtype,
        "attention": encoder.attention,
        "trust_remote_code": encoder.trust_remote_code,
        "projection_dim": dim,
        "seed": seed,
        "max_memory": encoder.max_memory,
        **encoder.settings.as_overrides(),
    }
    fingerprints = {role: encoder.fingerprint(role) for role in ROLES}
    return load_again, (type(encoder), encoder.checkpoint.lasting_name, options, fingerprints)


def load_again(
    kind: type[Encoder], name: str, options: dict[str, Any], fingerprints: dict[Role, str]
) -> Encoder:
    """Load a pickled encoder.

    Args:
        kind: The encoder's class.
        name: The checkpoint's lasting name.
        options: Arguments of ``from_pretrained``.
        fingerprints: Those of the encoder that was pickled.

    Raises:
        CheckpointError: The checkpoint is not there, or in another state than it was.
    """
    encoder = kind.from_pretrained(name, **options)
    if any(encoder.fingerprint(role) != before for role, before in fingerprints.items()):
        raise CheckpointError(
            f"{name} was saved anew since this encoder was pickled (its weights, tokenizer or "
            "settings differ); load it again where it is needed"
        )
    return encoder
