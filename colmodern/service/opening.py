"""What a server opens before it is ready: its model and the indexes that it serves."""

from __future__ import annotations

from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError
from colmodern.pipeline.open.encoder import encoder_from_config
from colmodern.service.metrics import IndexFacts
from colmodern.service.settings import ServeSettings


def open_encoder(settings: ServeSettings) -> Encoder:
    """Load the model that the settings name.

    Raises:
        ConfigError: They name none.
        CheckpointError: It cannot be read.
    """
    if settings.encoder is None:
        raise ConfigError("there is no model; pass --model, or encoder.model in the config")
    return encoder_from_config(settings.encoder)


def open_indexes(settings: ServeSettings, encoder: Encoder) -> dict[str, IndexFacts]:
    """Open every index of the settings, with its kernels compiled and one query answered.

    Raises:
        StorageError: A folder is no index, or is damaged.
    """
    if settings.indexes:
        raise ConfigError("indexes are not served yet")
    return {}
