"""colmodern serve."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click

from colmodern.cli.options import PATH


@click.command("serve")
@click.option("--model", "-m", help="Checkpoint: folder, hub name or package:NAME/FOLDER.")
@click.option(
    "--index",
    "indexes",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Collection or index to serve under a name; may repeat.",
)
@click.option(
    "--config", type=PATH, help="YAML file of settings; the options here replace its own."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port, 0 for a free one.  [default: 8080]"
)
@click.option("--device", help="auto, cpu, cuda, cuda:N.  [default: auto]")
@click.option(
    "--api-key-file", type=PATH, help="File of keys, one a line; requests then need one of them."
)
@click.option("--insecure", is_flag=True, help="Listen on any address without a key.")
@click.option("--read-only", is_flag=True, help="Refuse changes of indexes.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other setting, for example limits.k=100 or encoder.dtype=auto; may repeat.",
)
def command(
    model: str | None,
    indexes: tuple[str, ...],
    config: Path | None,
    host: str | None,
    port: int | None,
    device: str | None,
    api_key_file: Path | None,
    insecure: bool,
    read_only: bool,
    overrides: tuple[str, ...],
) -> None:
    """Serve search, rerank and encode over HTTP, with a page to search at /.

    Without --model, the model of the first collection is used. GET /ready answers 200 once everything
    is loaded; SIGTERM lets running requests finish. Every request is logged on stderr as a line of
    JSON. /docs describes the paths.
    """
    # else OpenMP's threads spin between two encodings, on CPUs that searches need
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from colmodern.optional import require
    from colmodern.service.settings import load_serve_settings

    for module in ("fastapi", "prometheus_client", "uvicorn"):
        require(module, extra="serve")
    from colmodern.service.app import create_app
    from colmodern.service.server import Server, expect_safe, with_own_hosts

    encoder = {"model": model, "device": device}
    values: dict[str, Any] = {
        "host": host,
        "port": port,
        "api_key_file": None if api_key_file is None else str(api_key_file),
        "insecure": insecure or None,
        "read_only": read_only or None,
        "encoder": {key: value for key, value in encoder.items() if value is not None} or None,
        "indexes": _by_name(indexes) or None,
    }
    options = {key: value for key, value in values.items() if value is not None}
    settings = with_own_hosts(load_serve_settings(config, overrides, options))
    expect_safe(settings)
    _prepare_logging()
    server = Server(create_app(config=settings))
    server.run()
    failure = server.service.failure
    if failure is not None:
        raise failure


def _by_name(indexes: tuple[str, ...]) -> dict[str, str]:
    """Folders by name; UsageError for an option of another form, or a name that repeats."""
    folders: dict[str, str] = {}
    for option in indexes:
        name, equals, folder = option.partition("=")
        if not equals or not name or not folder:
            raise click.UsageError(f"--index={option} is not of the form NAME=FOLDER")
        if name in folders:
            raise click.UsageError(f"--index={name} is there twice; give each index its own name")
        folders[name] = folder
    return folders


def _prepare_logging() -> None:
    """Log as lines of JSON on stderr, also what uvicorn has to say."""
    from colmodern.service.logs import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("colmodern", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
