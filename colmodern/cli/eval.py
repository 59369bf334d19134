"""colmodern eval CONFIG [KEY=VALUE ...]."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("eval")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(config: Path, overrides: tuple[str, ...]) -> None:
    """Run the evaluation that CONFIG defines and write its run folder.

    KEY=VALUE replaces a setting, as search.k=50. Finished stages of earlier runs are reused. The
    last line printed is the run folder.
    """
    from rich.console import Console

    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import figures
    from colmodern.config.load import load_eval_config
    from colmodern.pipeline.evaluate import run_eval
    from colmodern.pipeline.write_report import headline

    settings = load_eval_config(config, overrides)
    with TerminalProgress() as progress:
        result = run_eval(settings, progress=progress)
    Console().print(
        figures(f"{settings.name} on {Path(settings.dataset.name).name}", headline(result))
    )
    click.echo(result.folder)
