"""colmodern mine [CONFIG] [KEY=VALUE ...]."""

from __future__ import annotations

import click

from colmodern.cli.eval import paths_and_overrides


@click.command("mine")
@click.argument("arguments", nargs=-1, required=True, metavar="[CONFIG] [KEY=VALUE]...")
def command(arguments: tuple[str, ...]) -> None:
    """Find hard negatives and write rows of query, documents and teacher's scores.

    Settings come from CONFIG, a file or a recipe's name, and from KEY=VALUE, which replaces them.
    CONFIG is optional: pairs=FILE encoder.model=MODEL output=NEW.jsonl, or dataset.name=FOLDER
    instead of pairs. The same command resumes after an interruption; with work=FOLDER, a command with
    other settings repeats only what they change. The last line printed is the file, which the recipe
    mined reads: colmodern train mined data.0.path=NEW.jsonl
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.config.mine import load_mine_config
    from colmodern.training.mining.mine import run_mine

    is_file = "=" not in arguments[0]
    paths, overrides = paths_and_overrides(arguments, "mine") if is_file else ([], list(arguments))
    if len(paths) > 1:
        raise click.UsageError(f"give one config, not {len(paths)}: {', '.join(map(str, paths))}")
    config = load_mine_config(paths[0] if paths else None, overrides)
    with TerminalProgress() as progress:
        facts = run_mine(config, progress=progress)
    dropped = ", ".join(f"{n:,} {rule}" for rule, n in facts["dropped"].items() if n)
    click.echo(
        f"{facts['rows']:,} rows; {facts['without_enough_negatives']:,} positives left out for want of "
        f"negatives; candidates dropped: {dropped or 'none'}"
    )
    click.echo(config.output)
