"""Encoders from configs and from the folders they filled."""

from __future__ import annotations

from colmodern.config.load import build
from colmodern.config.models import EncoderConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import StorageError
from colmodern.ragged.store import EmbeddingStore


def encoder_from_config(config: EncoderConfig) -> Encoder:
    """Load the encoder that a config names, with its settings."""
    return Encoder.from_pretrained(
        config.model,
        revision=config.revision,
        device=config.device,
        dtype=config.dtype,
        attention=config.attention,
        trust_remote_code=config.trust_remote_code,
        projection_dim=config.projection_dim,
        seed=config.seed,
        max_memory=config.max_memory,
        **config.settings(),
    )


def encoder_of_store(
    store: EmbeddingStore, *, device: str = "auto", trust_remote_code: bool = False
) -> Encoder:
    """The encoder that made a store's document embeddings, loaded again for queries.

    trust_remote_code: asked for anew, whatever was trusted when the store was made

    Raises StorageError when the model has changed since: its scores would mean nothing.
    """
    made_by = store.manifest["encoder"]
    is_local = made_by["revision"] is None and not made_by["model"].startswith("package:")
    names = ("revision", "dtype", "attention", "projection_dim", "seed")
    values = {
        "model": made_by["path"] if is_local else made_by["model"],
        "device": device,
        "trust_remote_code": trust_remote_code,
        **{name: made_by[name] for name in names},
        **made_by["settings"],
    }
    config = build(EncoderConfig, values, source=f"{store.folder}/manifest.json")
    encoder = encoder_from_config(config)
    if encoder.fingerprint("document") != made_by["fingerprint"]:
        raise StorageError(
            f"{store.folder} was encoded by another state of {config.model!r} (weights, tokenizer or "
            "settings differ); encode the documents again"
        )
    return encoder
