"""colmodern train CONFIG [KEY=VALUE ...]."""

from __future__ import annotations

from pathlib import Path

import click

from colmodern.cli.options import PATH


@click.command("train")
@click.argument("config", type=PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train the model that CONFIG defines, through PyLate (extra train).

    CONFIG is a file or a recipe's name, for example local (`colmodern recipes` lists them). KEY=VALUE
    replaces a setting, for example optimisation.learning_rate=3e-5. The same command resumes after an
    interruption. On several GPUs: accelerate launch -m colmodern train CONFIG. The last line on
    stdout is the checkpoint, a folder that every other command takes as a model; a last line on
    stderr says whether its weights are those that training started from.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.config.shipped import find_config
    from colmodern.config.train import load_train_config
    from colmodern.errors import StorageError
    from colmodern.files import read_json_object
    from colmodern.pipeline.run_folder import TRAIN_RESULT, TRAINED_MODEL
    from colmodern.training.model_card import no_gain
    from colmodern.training.run import is_first_process, run_train

    settings = load_train_config(find_config(config, "train"), overrides)
    with TerminalProgress() as progress:
        folder = run_train(settings, progress=progress)
    if is_first_process():
        click.echo(folder / TRAINED_MODEL)
        result = read_json_object(folder / TRAIN_RESULT, StorageError, cure=f"remove {folder}")
        if (sentence := no_gain(result)) is not None:
            click.echo(sentence, err=True)
