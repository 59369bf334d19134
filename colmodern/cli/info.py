"""colmodern info [WHAT]."""

from __future__ import annotations

from collections.abc import Mapping

import click

from colmodern.cli import terminal
from colmodern.cli.options import json_option


@click.command("info")
@click.argument("what", required=False)
@click.option(
    "--verify", is_flag=True, help="Compare every file of embeddings or an index with its checksum."
)
@json_option
def command(what: str | None, verify: bool, as_json: bool) -> None:
    """Describe WHAT: a run, sweep or training, embeddings, an index, a collection, or a model.

    WHAT may also be a file of documents, queries, judgments, results or settings, a folder of
    them or of runs, or the name of a collection. Without it, this machine.
    """
    import yaml

    from colmodern.pipeline.describe.describe import describe

    facts = _plain(describe(what, verify=verify))
    if as_json:
        terminal.put_json(facts)
    else:
        terminal.put(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).rstrip())


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in values.items()}
