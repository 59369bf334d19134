"""Texts on disk: read one by one, together and in a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colmodern import StoredDocument
from colmodern.collection.texts import Texts, TextsRecord, TextWriter, record_texts
from colmodern.errors import StorageError

N_DOCS = 3000  # of several blocks, and more than a stream reads at a time


def document(number: int, version: str = "") -> StoredDocument:
    """A document with a title, a field, or neither."""
    title = f"Title {number}" if number % 3 == 1 else ""
    fields = {"year": number} if number % 3 == 2 else {}
    return StoredDocument(f"d{number}", f"text {number} é{version} " * (number % 9), title, fields)


def written(folder: Path, name: str, documents: list[StoredDocument]) -> TextsRecord:
    """A segment with these documents."""
    (folder / name).mkdir()
    with TextWriter(folder / name) as writer:
        for stored in documents:
            writer.add(stored)
        writer.finish()
    return record_texts(folder / name, name, len(documents))


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    """Documents in two segments; the newer one replaces every seventh, and has some of its own."""
    older = [document(i) for i in range(N_DOCS)]
    newer = [document(i, " again") for i in range(0, N_DOCS + 70, 7)]
    records = [written(tmp_path, "texts-00001", older), written(tmp_path, "texts-00002", newer)]
    return Texts(tmp_path, records)


def test_the_newest_documents_come_in_the_order_of_their_ids(texts: Texts) -> None:
    numbers = np.random.default_rng(0).permutation(N_DOCS)[:500].tolist()
    numbers += [
        -(-N_DOCS // 7) * 7,
        *numbers[:20],
    ]  # one of the newer segment alone, and some again
    expected = [document(i, "" if i % 7 else " again") for i in numbers]
    assert texts.get([stored.doc_id for stored in expected]) == expected
    assert texts.get([]) == []


def test_a_stream_is_what_is_read_together(texts: Texts) -> None:
    ids = [f"d{i}" for i in range(N_DOCS)]
    assert list(texts.stream(ids)) == texts.get(ids)
    assert list(texts.segments[0].documents()) == [document(i) for i in range(N_DOCS)]
    assert list(texts.segments[0].documents(1020, 1030)) == [document(i) for i in range(1020, 1030)]


def test_an_id_without_a_text_is_damage(texts: Texts) -> None:
    with pytest.raises(StorageError, match="'nowhere'"):
        texts.get(["d1", "nowhere", "d2"])
