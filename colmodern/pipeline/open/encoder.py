"""Encoders from configs and from the folders they filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colmodern.config.load import build
from colmodern.config.models import EncoderConfig
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.recipe import recorded_arguments, unknown_settings
from colmodern.errors import CheckpointError, InputError, StorageError
from colmodern.ragged.manifest import EncoderRecord
from colmodern.ragged.store import EmbeddingStore


def encoder_from_config(config: EncoderConfig) -> Encoder:
    """Load the encoder that a config names, with its settings.

    Of several devices it is on the first, unless the config names its own.
    """
    device = config.device
    if device == "auto" and config.devices is not None:
        device = config.devices[0]
    return Encoder.from_pretrained(
        config.model,
        revision=config.revision,
        device=device,
        dtype=config.dtype,
        attention=config.attention,
        trust_remote_code=config.trust_remote_code,
        projection_dim=config.projection_dim,
        seed=config.seed,
        max_memory=config.max_memory,
        **config.settings(),
    )


class LoadedEncoders:
    """Loads a model once for all the evaluations in a row that use it, whatever their settings."""

    def __init__(self) -> None:
        self._last: tuple[EncoderConfig, Encoder] | None = None
        self._failure: tuple[EncoderConfig, CheckpointError] | None = None

    def get(self, config: EncoderConfig) -> Encoder:
        """The encoder that a config names, with its settings; the model of the last one is kept.

        A model that could not be found is not looked for again: the same error is raised.
        """
        model = config.model_copy(update=dict.fromkeys(config.settings()))
        if self._last is not None and self._last[0] == model:
            return self._last[1].with_settings(**config.settings())
        self._last = None  # two models are never in memory at once
        if self._failure is not None and self._failure[0] == model:
            raise self._failure[1]
        try:
            encoder = encoder_from_config(config)
        except CheckpointError as error:
            self._failure = model, error
            raise
        self._last = model, encoder
        return encoder


def encoder_of_store(
    store: EmbeddingStore,
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
    model: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Encoder:
    """The encoder that made a store's document embeddings, loaded again for queries.

    Args:
        store: Embeddings of documents.
        device: as ``Encoder.from_pretrained`` takes it.
        trust_remote_code: asked for anew, whatever was trusted when the store was made.
        model: for a store that does not name its own; refused for others.
        settings: fields of EncoderConfig for ``model``.

    Raises:
        InputError: the store names its model, or names none and ``model`` is None.
        StorageError: the model has changed since, or is another: its scores would mean nothing.
    """
    encoder = store.encoder
    where = f"{store.folder}/manifest.json"
    values: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    if encoder is None or encoder.model is None:
        if model is None:
            raise InputError(
                f"{store.folder} does not name the model of its embeddings; give it with --model, "
                "or write the store with EmbeddingStore.write(..., encoder=encoder)"
            )
        values = {**values, **(settings or {}), "model": model}
        where = "--model"
    elif model is not None:
        raise InputError(f"{store.folder} names its model, {encoder.model}; leave --model out")
    else:
        values |= _recorded(encoder, where)
    config = build(EncoderConfig, values, source=where)
    loaded = encoder_from_config(config)
    expected = None if encoder is None else encoder.fingerprint
    if expected is not None and loaded.fingerprint("document") != expected:
        raise StorageError(
            f"{store.folder} was encoded by another state of {config.model!r} (weights, tokenizer or "
            "settings differ); encode the documents again"
        )
    return loaded


def _recorded(encoder: EncoderRecord, where: str) -> dict[str, Any]:
    """Fields of EncoderConfig; raises StorageError for settings that are none of an encoder."""
    if unknown := unknown_settings(encoder):  # trust_remote_code, for example
        raise StorageError(
            f"{where} has the unknown encoder.settings.{unknown[0]}; delete the folder and encode again"
        )
    return recorded_arguments(encoder)
