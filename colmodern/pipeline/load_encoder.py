"""Encoders from configs and from the folders they filled."""

from __future__ import annotations

from colmodern.config.load import build
from colmodern.config.models import EncoderConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import CheckpointError, StorageError
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
        self._last = None  # so that two models never are in memory
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
