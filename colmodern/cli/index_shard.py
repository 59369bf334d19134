"""colmodern index shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH


@click.command("shard")
@click.argument("source", metavar="STORE_OR_INDEX", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="New folder of the shards.")
@click.option("--shards", "n_shards", type=int, required=True, help="Number of shards.")
@click.option("--nbits", type=int, help="Of embeddings: bits per dimension, 1, 2, 4 or 8.")
@click.option("--max-memory", help="Of embeddings: memory that the build may use.  [default: 4G]")
def shard(
    source: Path, output: Path, n_shards: int, nbits: int | None, max_memory: str | None
) -> None:
    """Split an index, or embeddings, into shards by the hash of the documents' ids.

    STORE_OR_INDEX is a compressed index, a run folder or a folder that `colmodern encode` wrote.
    All shards have one codec: results are those of one index. Each shard is an index that another
    machine can serve. An interrupted command resumes when it runs again.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.index.sharded.index import ShardedIndex
    from colmodern.index.sharded.split import shard_index
    from colmodern.pipeline.compressed import is_index
    from colmodern.pipeline.open.artifacts import store_of

    settings: dict[str, Any] = {"nbits": nbits, "max_memory": max_memory}
    wanted = {name: value for name, value in settings.items() if value is not None}
    with TerminalProgress() as progress:
        if not is_index(source):
            ShardedIndex.build(store_of(source), output, n_shards, progress=progress, **wanted)
        elif wanted:
            name = next(iter(wanted)).replace("_", "-")
            raise click.UsageError(f"--{name} is for embeddings; {source} is compressed already")
        else:
            shard_index(source, output, n_shards, progress=progress)
    info = ShardedIndex.load(output).info()
    terminal.put(
        f"{info['documents']:,} documents in {info['shards']:,} shards, {info['tokens']:,} tokens, "
        f"{info['bytes']['total'] / 1e6:,.1f} MB"
    )
    terminal.put(output)
