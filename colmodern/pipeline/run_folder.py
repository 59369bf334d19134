"""Publishing a run's results: the whole folder at once, and never over another config's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colmodern.errors import StorageError

CONFIG = "config.yaml"


def check_publishable(folder: Path) -> None:
    """Raise StorageError when ``folder`` exists and is no run, before any work is spent."""
    if folder.exists() and not (folder / CONFIG).is_file():
        raise StorageError(
            f"{folder} exists and is not a run of colmodern (it has no {CONFIG}); "
            "choose another name or output"
        )


@contextmanager
def publishing(folder: Path, config_text: str) -> Iterator[tuple[Path, Path | None]]:
    """Give an empty folder to fill; on success it becomes ``folder``.

    Yields it and the place to which an earlier run of another config is moved, None when
    there is none. A failure leaves ``folder`` as it was.
    """
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    kept = None
    if folder.exists() and (folder / CONFIG).read_text("utf-8") != config_text:
        kept = next(p for i in range(1, 10**6) if not (p := Path(f"{folder}.{i}")).exists())
    try:
        yield staged, kept
        if folder.exists():
            os.replace(folder, kept or replaced)
        os.replace(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
