"""The application of the service, to be run by ``colmodern serve`` or inside another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.optional import require

if TYPE_CHECKING:
    from fastapi import FastAPI

    from colmodern.encoder.encoder import Encoder
    from colmodern.service.settings import ServeSettings


def create_app(
    model: Encoder | str | Path | None = None,
    indexes: Mapping[str, str | Path] | None = None,
    *,
    config: ServeSettings | str | Path | None = None,
    **settings: object,
) -> FastAPI:
    """Make the application of the service, for any ASGI server or another FastAPI application.

    Nothing is loaded before the application starts: its lifespan loads the model, opens the indexes
    and compiles kernels while ``GET /ready`` answers 503.

    Args:
        model: An Encoder, or the name or folder of a checkpoint; None for the config's.
        indexes: Folders of collections or indexes by name; None for the config's.
        config: A YAML file, or settings that were read from one.
        **settings: Keys of the settings, as ``read_only=True`` or ``limits={"k": 100}``.

    Returns:
        The application, whose ``state.service`` has its model and indexes.

    Raises:
        ConfigError: A setting is wrong.
        MissingExtraError: FastAPI or prometheus-client is not installed.
    """
    for module in ("fastapi", "prometheus_client"):
        require(module, extra="serve")
    from colmodern.config.read import merge
    from colmodern.encoder.encoder import Encoder
    from colmodern.service.assembly import assemble
    from colmodern.service.service import Service
    from colmodern.service.settings import ServeSettings, load_serve_settings

    if not isinstance(model, Encoder | str | Path | None):
        raise InputError(
            f"model={shown(model)}; pass an Encoder, or the name or folder of a checkpoint"
        )
    values = dict(settings)
    if indexes is not None:
        values["indexes"] = {name: str(folder) for name, folder in indexes.items()}
    if isinstance(model, str | Path):
        values["encoder"] = {"model": str(model)}
    if isinstance(config, ServeSettings):
        values, config = merge(config.model_dump(mode="json"), values), None
    checked = load_serve_settings(config, values=values)
    return assemble(Service(checked, model if isinstance(model, Encoder) else None))
