"""The folder of a BM25 index: bm25s's own files, the ids, and a manifest with checksums.

data.csc.index.npy      (n_postings,) float32 score of each word of each document
indices.csc.index.npy   (n_postings,) int32 doc_index
indptr.csc.index.npy    (n_words + 1,) int64; the postings of a word are from one to the next
vocab.index.json        word -> its number
params.index.json       parameters, for ``bm25s.BM25.load``
ids.bin, id_*.npy       the ids, as index/plaid/disk/doc_ids.py describes them
id_ranks.npy            (n_docs,) int64 rank of each id among all ids in order
manifest.json           settings, counts, checksums; written last
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from colmodern.disk import remove, sync_folder
from colmodern.errors import StorageError
from colmodern.files import (
    exists_error,
    naming_write_errors,
    read_error,
    read_json_object,
    sha256_of_file,
    staging,
)
from colmodern.index.plaid.disk.doc_ids import ID_FILES, DocIds
from colmodern.ragged.mapped import expect_checksum, fast_checksum, map_file
from colmodern.sealed import unsealed, write_sealed

FORMAT = "colmodern-bm25"
VERSION = 1
NAME = "manifest.json"
POSTINGS = ("data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy")
VOCABULARY, PARAMETERS, ID_RANKS = "vocab.index.json", "params.index.json", "id_ranks.npy"
ARRAYS = (*POSTINGS, ID_RANKS, *ID_FILES)
FILES = (*ARRAYS, VOCABULARY, PARAMETERS)
CURE = "build the index again, or bring a copy of it back"

_Count = Annotated[int, Field(ge=0, strict=True)]


class Bm25Manifest(BaseModel):
    """What a BM25 index was built with, and the checksums of its files.

    files: SHA-256 of each; fast: of the values of each array, as ragged.mapped makes it
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, Any]
    library: str  # the version of bm25s that computed the scores
    n_docs: _Count
    n_words: _Count  # words of all documents, repeated ones too
    files: dict[str, str]
    fast: dict[str, str]


class Bm25Files:
    """The mapped files of an index; arrays are compared with their checksums by ``verify``.

    Raises:
        StorageError: A file is missing or damaged, or the folder holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._is_verified = False
        try:
            self.scores, self.docs, self.starts = (map_file(folder / name) for name in POSTINGS)
            self.id_ranks = map_file(folder / ID_RANKS)
            self.ids = DocIds(folder)
            vocabulary = (folder / VOCABULARY).read_bytes()
            self.vocabulary: dict[str, int] = json.loads(vocabulary)
        except (OSError, MemoryError, ValueError, RecursionError) as error:
            raise read_error(folder, error, cure=CURE) from error
        if hashlib.sha256(vocabulary).hexdigest() != self.manifest.files[VOCABULARY]:
            raise StorageError(f"{folder / VOCABULARY} differs from its checksum; {CURE}")

    def verify(self) -> None:
        """Compare the arrays, as they are mapped, with their checksums, once.

        Raises:
            StorageError: One is not what was written; names it.
        """
        if self._is_verified:
            return
        arrays: dict[str, npt.NDArray[np.generic]] = dict(
            zip(POSTINGS, (self.scores, self.docs, self.starts), strict=True)
        )
        for name, array in {**arrays, ID_RANKS: self.id_ranks, **self.ids.arrays}.items():
            expect_checksum(
                self.folder / name,
                array,
                sha256=self.manifest.files[name],
                fast=self.manifest.fast[name],
                cure=CURE,
            )
        self._is_verified = True


def is_bm25_index(folder: Path) -> bool:
    """Whether a folder says that it is a BM25 index, of whatever version and state."""
    try:
        return read_json_object(folder / NAME, StorageError, cure=CURE).get("format") == FORMAT
    except StorageError:
        return False


def read_manifest(folder: Path) -> Bm25Manifest:
    """The manifest of a BM25 index.

    Raises StorageError when there is none, or it is damaged or of another format or version.
    """
    path = folder / NAME
    if not path.is_file():
        raise StorageError(f"{folder} holds no BM25 index; build it first, or mend the path")
    manifest = unsealed(
        path,
        read_json_object(path, StorageError, cure=CURE),
        Bm25Manifest.model_validate,
        format=FORMAT,
        versions=(VERSION,),
        wrong_format="; choose a BM25 index",
        wrong_version=f"version {VERSION}: build the index again, or use the colmodern that wrote it",
        cure=CURE,
    )
    if set(manifest.files) != set(FILES) or set(manifest.fast) != set(ARRAYS):
        raise StorageError(f"{path} does not list the files of a BM25 index; {CURE}")
    return manifest


def check_files(folder: Path, advance: Callable[[], None]) -> None:
    """Compare every byte of an index with its SHA-256, and what the arrays say with one another.

    Args:
        folder: The index.
        advance: Called after each file.

    Raises:
        StorageError: Something is wrong; names the first file with a fault.
    """
    files = Bm25Files(folder)
    for name, expected in files.manifest.files.items():
        try:
            is_same = sha256_of_file(folder / name) == expected
        except (OSError, MemoryError) as error:
            raise read_error(folder / name, error, cure=CURE) from error
        if not is_same:
            raise StorageError(f"{folder / name} differs from its checksum; {CURE}")
        advance()
    files.verify()
    n_docs, starts = files.manifest.n_docs, files.starts
    faults = {
        POSTINGS[1]: len(files.docs) and not 0 <= files.docs.min() <= files.docs.max() < n_docs,
        POSTINGS[2]: len(starts) != len(files.vocabulary) + 1
        or starts[0] != 0
        or starts[-1] != len(files.docs)
        or np.any(np.diff(starts) < 0),
        POSTINGS[0]: len(files.scores) != len(files.docs),
        ID_RANKS: len(files.id_ranks) != n_docs or len(files.ids) != n_docs,
    }
    for name, is_wrong in faults.items():
        if is_wrong:
            raise StorageError(f"{folder / name} does not fit the other files; {CURE}")


def expect_free(path: Path, *, overwrite: bool) -> None:
    """Raise StorageError when no BM25 index may be written at a path."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise exists_error(path)
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else None
    if names is None or not is_bm25_index(path) or names - {*FILES, NAME}:
        raise StorageError(
            f"{path} is not a BM25 index, or holds other files; choose another folder, or delete it "
            "yourself"
        )


def write_index(
    path: Path,
    write: Callable[[Path], None],
    facts: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write an index folder, all or nothing; an older index is there until the new one is finished.

    Args:
        path: Folder of the index.
        write: Writes all FILES into a new folder.
        facts: The manifest's other fields.
        overwrite: Whether to replace an older BM25 index.

    Raises:
        StorageError: Something else is at the path, or it cannot be written.
    """
    path = Path(os.path.realpath(path))
    old = path.with_name(f".{path.name}.replaced")
    with naming_write_errors(path):
        if old.is_dir() and not path.exists():  # a killed call was between its two renames
            os.rename(old, path)
        expect_free(path, overwrite=overwrite)
        remove(old)
    finished = path.with_name(f".{path.name}.finished") if path.exists() else path
    with naming_write_errors(finished):
        if finished != path:
            remove(finished)
    with staging(finished) as folder:
        write(folder)
        manifest = Bm25Manifest(
            **facts,
            files={name: sha256_of_file(folder / name) for name in FILES},
            fast={name: fast_checksum(map_file(folder / name)) for name in ARRAYS},
        )
        write_sealed(folder / NAME, manifest.model_dump(), format=FORMAT, version=VERSION)
    if finished == path:
        return
    with naming_write_errors(path):
        os.rename(path, old)
        try:
            os.rename(finished, path)
        except OSError:
            os.rename(old, path)
            raise
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
