from __future__ import annotations

import pytest
from conftest import CORPUS

from colmodern import Collection, Encoder

TEXTS = {row["_id"]: row["text"] for row in CORPUS if row["text"]}


@pytest.fixture(scope="session")
def tiny() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, tiny: Encoder) -> Collection:
    """The small collection, with a field of its own."""
    made = Collection.create(tmp_path_factory.mktemp("collections") / "small", tiny, spans=True)
    made.add(
        [{"id": doc_id, "text": text, "origin": f"{doc_id}.txt"} for doc_id, text in TEXTS.items()]
    )
    return made
