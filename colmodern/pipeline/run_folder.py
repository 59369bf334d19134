"""Publishing a run's results: the whole folder at once, and never over anything else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colmodern.errors import StorageError
from colmodern.files import naming_write_errors, read_text, remove_leftovers, temporary_beside

CONFIG = "config.yaml"
SWEEP_CONFIG = "sweep.yaml"  # of a sweep, in place of CONFIG
TRAIN_CONFIG, TRAINED_MODEL, TRAIN_RESULT = "train.yaml", "model", "training.json"  # of a training
ENVIRONMENT = "environment.json"
FIDELITY = "fidelity.json"  # only beside an index that was compared with exact search


def is_run(folder: Path) -> bool:
    """Whether a folder is one that an evaluation wrote."""
    return (folder / CONFIG).is_file() and (folder / ENVIRONMENT).is_file()


def check_publishable(folder: Path, *, config: str = CONFIG) -> None:
    """Raise StorageError when ``folder`` exists and is not ours, before any work is spent.

    config: CONFIG of a run, SWEEP_CONFIG of a sweep
    """
    with naming_write_errors(folder), suppress(FileNotFoundError):
        os.lstat(folder)
        if (folder / config).is_file() and (folder / ENVIRONMENT).is_file():
            return
        kind = "run" if config == CONFIG else "sweep"
        raise StorageError(
            f"{folder} exists and is not a {kind} of colmodern (it has no {config} with "
            f"{ENVIRONMENT}); choose another name or output"
        )


@contextmanager
def publishing(
    folder: Path, config_text: str, *, config: str = CONFIG
) -> Iterator[tuple[Path, Path | None]]:
    """Give an empty folder to fill; on success it becomes ``folder``.

    config: the file that will hold ``config_text``

    Yields it and the place to which an earlier run of another config is moved, None when
    there is none. Files that a person put into the earlier folder stay with it, or move along
    when it is replaced. A failure leaves ``folder`` as it was.
    """
    staged, replaced = temporary_beside(folder), temporary_beside(folder, "old")
    remove_leftovers(folder.parent)
    kept = None
    if folder.exists() and read_text(folder / config, StorageError) != config_text:
        kept = next(p for i in range(1, 10**6) if not (p := Path(f"{folder}.{i}")).exists())
    with naming_write_errors(folder):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        try:
            yield staged, kept
            if folder.exists():
                os.replace(folder, kept or replaced)
            os.replace(staged, folder)
            _move_foreign(replaced, folder)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            earlier = kept or replaced
            if earlier.exists() and not folder.exists():  # failed between the two renames
                os.replace(earlier, folder)


def _move_foreign(old: Path, new: Path) -> None:
    """Take along what the old folder has and the new one does not."""
    for path in old.iterdir() if old.is_dir() else ():
        if not os.path.lexists(new / path.name):
            os.replace(path, new / path.name)
