"""A collection whose first documents cannot be added is withdrawn, without anything of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from colmodern import Collection, Encoder
from colmodern.collection.creation import withdrawn_on_failure


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


def fail_after(folder: Path, collection: Collection | None, note: Path | None) -> None:
    with withdrawn_on_failure(folder, keeps_folder=False):
        if collection is not None:
            collection.add(["pasta and salt"])
        if note is not None:
            note.write_text("mine")
        raise KeyboardInterrupt


def test_nothing_of_an_empty_collection_is_left(tmp_path: Path, encoder: Encoder) -> None:
    folder = Collection.create(tmp_path / "c", encoder).folder
    (folder / "texts-00001").mkdir()  # as a failed change leaves it
    with pytest.raises(KeyboardInterrupt):
        fail_after(folder, None, None)
    assert not list(tmp_path.iterdir())


def test_documents_that_were_added_stay(tmp_path: Path, encoder: Encoder) -> None:
    collection = Collection.create(tmp_path / "c", encoder)
    with pytest.raises(KeyboardInterrupt):
        fail_after(collection.folder, collection, None)
    assert list(Collection.open(collection.folder)) == ["0"]


def test_a_file_of_the_user_stays(tmp_path: Path, encoder: Encoder) -> None:
    folder = Collection.create(tmp_path / "c", encoder).folder
    with pytest.raises(KeyboardInterrupt):
        fail_after(folder, None, folder / "note.txt")
    assert [path.name for path in folder.iterdir()] == ["note.txt"]
