from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index.plaid.tiny_index import (
    write_index,
)

from colmodern.errors import InputError, StorageError
from colmodern.files import sha256_of_file
from colmodern.index.plaid.disk import tombstones
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.manifest import Manifest, commit, read_manifest
from colmodern.index.plaid.disk.storage import open_index, remove_leftovers
from colmodern.index.plaid.disk.tombstones import MOST_FILES, delete
from colmodern.ragged.arrays import write_array


def test_deletions_add_up_and_become_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    manifest = write_index(folder, [[1] * 200])
    for i in range(MOST_FILES):
        manifest = delete(folder, manifest, [2 * i + 3, 3])
    assert len(manifest.deletions) == MOST_FILES == len(list(folder.glob("deleted-*")))
    before = open_index(folder)
    manifest = delete(folder, manifest, [0])
    assert [record.name for record in manifest.deletions] == [f"deleted-{MOST_FILES:05d}.npy"]
    assert len(list(folder.glob("deleted-*"))) == 1
    assert open_index(folder).deleted.tolist() == [0, *before.deleted.tolist()]
    assert open_index(folder).manifest == manifest
    check_index(folder)


def test_deleting_nothing_commits_nothing_and_the_unknown_is_refused(index: Path) -> None:
    manifest = read_manifest(index)
    before = sorted(index.iterdir())
    assert delete(index, manifest, []) is manifest
    for wrong in (-1, 6):
        with pytest.raises(InputError, match=f"doc_index {wrong} is not in the index; .* 0 to 5"):
            delete(index, manifest, [0, wrong])
    assert sorted(index.iterdir()) == before


def test_a_deletion_that_cannot_be_committed_did_not_happen(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, manifest: Manifest) -> None:
        raise StorageError("disk full")

    manifest = read_manifest(index)
    monkeypatch.setattr(tombstones, "commit", fail)
    with pytest.raises(StorageError):
        delete(index, manifest, [2])
    assert open_index(index).deleted.tolist() == [1]
    remove_leftovers(index, manifest)
    assert [path.name for path in index.glob("deleted-*")] == ["deleted-00000.npy"]


def test_deletions_of_what_is_not_there_are_refused_at_open(index: Path) -> None:
    write_array(index / "deleted-00000.npy", np.array([6]))
    manifest = read_manifest(index)
    digest = sha256_of_file(index / "deleted-00000.npy")
    record = manifest.deletions[0].model_copy(update={"sha256": digest})
    commit(index, manifest.model_copy(update={"deletions": (record,)}))
    with pytest.raises(StorageError, match=r"deleted-00000\.npy names documents that are not"):
        open_index(index)


@pytest.mark.parametrize("array", [np.array([1.0]), np.array([1, 2]), np.array([[1]])])
def test_another_array_in_the_place_of_deletions_is_refused(index: Path, array: np.ndarray) -> None:
    write_array(index / "deleted-00000.npy", array)
    with pytest.raises(StorageError, match=r"deleted-00000\.npy does not hold the 1 deletions"):
        open_index(index)
