"""colmodern warmup [INDEX ...]."""

from __future__ import annotations

from pathlib import Path

import click

from colmodern.cli import terminal
from colmodern.cli.options import PATH, json_option


@click.command("warmup")
@click.argument("indexes", nargs=-1, type=PATH, metavar="[INDEX]...")
@json_option
def command(indexes: tuple[Path, ...], as_json: bool) -> None:
    """Compile the kernels of searches and builds ahead of time, for example in an image.

    They are kept in the cache of this user (COLMODERN_CACHE moves it) for the CPU that this runs
    on. With INDEX folders, only what searches of these need.
    """
    from colmodern.index.plaid.warmup import warm_up
    from colmodern.kernels.cpu.jit import cache_folder

    compiled = []
    for kernels in warm_up(indexes):
        compiled.append(kernels)
        if not as_json:
            terminal.put(f"{kernels.seconds:6.1f} s  {kernels.name}")
    if as_json:
        listed = [{"kernels": name, "seconds": seconds} for name, seconds in compiled]
        terminal.put_json({"cache": str(cache_folder()), "compiled": listed})
        return
    total = sum(kernels.seconds for kernels in compiled)
    terminal.put(f"{total:6.1f} s  in all; kept in {cache_folder()}")
