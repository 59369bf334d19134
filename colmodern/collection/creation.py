"""A collection that is created together with its first documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colmodern.collection.changes import remove_leftovers
from colmodern.collection.manifest import NAME, CollectionManifest, read_manifest
from colmodern.errors import ColmodernError
from colmodern.writer_lock import LOCK, writer_lock


@contextmanager
def withdrawn_on_failure(folder: Path, *, keeps_folder: bool) -> Iterator[None]:
    """Remove a new collection if the block fails before the collection has documents.

    Args:
        folder: The folder of a collection that was created just now.
        keeps_folder: Whether the folder was there before, and stays.
    """
    created = read_manifest(folder)
    try:
        yield
    except BaseException:
        with suppress(ColmodernError, OSError):  # the fault of the block is the one to report
            _withdraw(folder, created, keeps_folder=keeps_folder)
        raise


def _withdraw(folder: Path, created: CollectionManifest, *, keeps_folder: bool) -> None:
    with writer_lock(folder):
        if read_manifest(folder) != created:
            return
        (folder / NAME).unlink()
        remove_leftovers(folder, created)
        (folder / LOCK).unlink()
    if not keeps_folder:
        folder.rmdir()
