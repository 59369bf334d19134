"""Copies of indexes between disks, each compared with its manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

from colmodern.errors import StorageError
from colmodern.files import sha256_of_file, staging
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.manifest import NAME


def copy_index(source: Path, folder: Path) -> None:
    """Copy an index into a new folder, which appears when every file was read back and compared.

    Raises:
        StorageError: A file of the copy differs from its checksum, ``source`` is no index, or the disk
            is full; the message names the file or folder.
    """
    digest = index_digest(source)
    with staging(folder) as staged:
        shutil.copytree(source, staged, dirs_exist_ok=True)
        if index_digest(staged) != digest:
            raise StorageError(f"{staged / NAME} differs from that of {source}; copy it again")
        check_index(staged)


def index_digest(folder: Path) -> str:
    """SHA-256 of an index's manifest, which has the checksums of all other files.

    Raises:
        StorageError: ``folder`` holds no index.
    """
    path = folder / NAME
    if not path.is_file():
        raise StorageError(
            f"{folder} holds no index: there is no {NAME} in it; give the folder of an index"
        )
    return sha256_of_file(path)
