"""colmodern info [WHAT]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


@click.command("info")
@click.argument("what", required=False)
@click.option(
    "--verify", is_flag=True, help="Compare every file of embeddings or an index with its checksum."
)
def command(what: str | None, verify: bool) -> None:
    """Describe WHAT: a run or training folder, a folder of embeddings, an index or a model.

    Without it, this machine.
    """
    import yaml

    from colmodern.pipeline.describe import describe

    click.echo(yaml.safe_dump(_plain(describe(what, verify=verify)), sort_keys=False).rstrip())


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in values.items()}
