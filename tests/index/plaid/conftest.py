from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from index.plaid.tiny_index import write_index

from colmodern.index.plaid.disk.tombstones import delete


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Many small files are written here, and no power fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Two segments of 4 and 2 documents, of which document 1 is deleted."""
    folder = tmp_path / "index"
    delete(folder, write_index(folder), [1])
    return folder
