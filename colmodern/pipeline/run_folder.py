"""Publishing a run's results: the whole folder at once, and never over anything else.

    PARENT/NAME/                        the run
    PARENT/.NAME.publishing/.lock       held by whoever publishes it
    PARENT/.NAME.publishing/new/        what is being written
    PARENT/.NAME.publishing/replaced/   the older run, between the renames that swap it for the new one

Whoever holds the lock finishes or undoes what a killed process began, on whatever host it ran. Where
the run is a link, NAME is its target.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colmodern.config.read import is_same_config
from colmodern.errors import StorageError
from colmodern.files import naming_write_errors, remove_leftovers
from colmodern.writer_lock import writer_lock

CONFIG = "config.yaml"
SWEEP_CONFIG = "sweep.yaml"  # a sweep has it in place of CONFIG
# files of a training
TRAIN_CONFIG, TRAINED_MODEL, TRAIN_RESULT = "train.yaml", "model", "training.json"
ENVIRONMENT = "environment.json"
FIDELITY = "fidelity.json"  # only beside an index that was compared with exact search
PASSAGES = "passages.trec"  # run of each document's best passage, where documents have passages
_NEW, _REPLACED = "new", "replaced"


def is_run(folder: Path) -> bool:
    """Whether a folder is one that an evaluation wrote; a half-done publishing is finished first."""
    _restore_quietly(folder)
    # False, too, for what can be no path
    return os.path.isfile(folder / CONFIG) and os.path.isfile(folder / ENVIRONMENT)


def check_publishable(folder: Path, *, config: str = CONFIG) -> None:
    """Raise StorageError when ``folder`` exists and is not ours, before any work is spent.

    Args:
        folder: Folder of the run.
        config: CONFIG of a run, SWEEP_CONFIG of a sweep.
    """
    with naming_write_errors(folder), suppress(FileNotFoundError):
        _expect_no_link(_working(_target(folder)))
        _restore_quietly(folder)
        folder.stat()  # a link is followed
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
    """Give an empty folder to fill; on success it becomes ``folder``, or what that links to.

    Yields it and the place to which an earlier run of another config is moved, None when
    there is none. Files that a person put into the earlier folder stay with it, or move along
    when it is replaced. A failure leaves ``folder`` as it was.

    Args:
        folder: Folder of the run, or a link to it.
        config_text: The config that the run will have.
        config: Name of the file that will hold ``config_text``.
    """
    folder = _target(folder)
    remove_leftovers(folder.parent)  # left by versions that had no lock
    working = _working(folder)
    with _lock(working):
        staged, replaced = working / _NEW, working / _REPLACED
        try:
            restore(folder)
            earlier = None
            if folder.exists() and not is_same_config(folder / config, config_text):
                names = (_aside(folder, number) for number in range(1, 10**6))
                earlier = next(name for name in names if not os.path.lexists(name))
            with naming_write_errors(folder):
                _clear(staged)
                staged.mkdir()
                yield staged, earlier
                _swap(staged, folder, earlier or replaced)
                _finish(folder, replaced)
        finally:
            if not replaced.exists():
                shutil.rmtree(working, ignore_errors=True)


def _swap(staged: Path, folder: Path, old: Path) -> None:
    """Rename the new run into place, the older one to ``old``; on failure all is as before."""
    try:
        if folder.exists():
            os.replace(folder, old)
        os.replace(staged, folder)
    finally:
        if old.exists() and not folder.exists():
            os.replace(old, folder)


def restore(folder: Path) -> None:
    """Undo or finish a killed publishing; for the holder of its lock."""
    replaced = _working(folder) / _REPLACED
    if not replaced.is_dir():
        return
    with naming_write_errors(folder):
        if folder.exists():
            _finish(folder, replaced)
        else:
            os.replace(replaced, folder)


def _restore_quietly(folder: Path) -> None:
    """Restore a run that nobody else is publishing, where the folder can be written."""
    with suppress(OSError, ValueError):  # a StorageError is one; "/" has no name
        target = _target(folder)
        working = _working(target)
        if working.is_symlink() or not (working / _REPLACED).is_dir():
            return
        with writer_lock(working):
            restore(target)
            shutil.rmtree(working, ignore_errors=True)


def _target(folder: Path) -> Path:
    """What a link leads to, so that it is written and not the link."""
    with naming_write_errors(folder):
        return Path(os.path.realpath(folder))


def _working(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.publishing"


def _aside(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.{number}")


@contextmanager
def _lock(working: Path) -> Iterator[None]:
    """Be the only one that publishes a run."""
    with naming_write_errors(working):
        _expect_no_link(working)
        working.mkdir(parents=True, exist_ok=True)
    with writer_lock(working):
        yield


def _expect_no_link(working: Path) -> None:
    if working.is_symlink():
        raise StorageError(f"{working} is a link and would be followed; delete it")


def _clear(folder: Path) -> None:
    """Delete what a killed process was writing; never what a link leads to."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _finish(folder: Path, replaced: Path) -> None:
    """Take along what the older folder has and the new one does not, then delete it."""
    for path in sorted(replaced.iterdir()) if replaced.is_dir() else ():
        if not os.path.lexists(folder / path.name):
            os.replace(path, folder / path.name)
    shutil.rmtree(replaced, ignore_errors=True)
