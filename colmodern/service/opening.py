"""What a server opens before it is ready: its model and the indexes that it serves."""

from __future__ import annotations

from pathlib import Path

from colmodern.collection.manifest import is_collection_folder, read_manifest
from colmodern.collection.model import encoder_of
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError
from colmodern.pipeline.open.encoder import encoder_from_config
from colmodern.service.served import ServedIndex, expect_folder
from colmodern.service.settings import ServeSettings


def open_encoder(settings: ServeSettings) -> Encoder:
    """Load the model that the settings name, or that of the first collection.

    Raises:
        ConfigError: There is neither.
        CheckpointError: It cannot be read.
        StorageError: It is not the one that the collection was made with any more, or an index that
            is to be served has no folder.
    """
    for name, path in settings.indexes.items():
        expect_folder(name, path)
    if settings.encoder is not None:
        return encoder_from_config(settings.encoder)
    for folder in map(Path, settings.indexes.values()):
        if is_collection_folder(folder):
            manifest = read_manifest(folder)
            return encoder_of(folder, manifest, device="auto", trust_remote_code=False)
    raise ConfigError(
        "there is no model; pass --model, or encoder.model in the config, or serve a collection"
    )


def open_indexes(settings: ServeSettings, encoder: Encoder) -> dict[str, ServedIndex]:
    """Open every index of the settings, with its kernels compiled and one query answered.

    Raises:
        StorageError: A folder is no index, or is damaged.
    """
    indexes = {
        name: ServedIndex(name, folder, encoder, read_only=settings.read_only)
        for name, folder in settings.indexes.items()
    }
    for index in indexes.values():
        index.warn_of_texts()
        index.warm()
    return indexes
