"""Embeddings against each checkpoint's own library.

The golden files were computed by tests/golden/make_golden.py in the library's environment; the
tests marked ``pylate`` compute them live.
"""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest

import colmodern
from colmodern import Encoder

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = [(library, name) for library, names in checkpoints.catalogue().items() for name in names]
TINY = Path(colmodern.__file__).parent / "tiny"
TOLERANCE = 2e-5  # golden values are rounded to 6 digits, and texts are batched differently
HALVES = 5e-3  # float16 weights and activations beside float32


def encode(folder: Path) -> dict[str, list[np.ndarray]]:
    encoder = Encoder.from_pretrained(folder, device="cpu")
    return {
        "queries": list(encoder.encode_queries(checkpoints.QUERIES)),
        "documents": list(encoder.encode_documents(checkpoints.DOCUMENTS)),
    }


@pytest.mark.parametrize(("library", "name"), CASES, ids=lambda part: part)
def test_embeddings_equal_the_golden_values(library: str, name: str, tmp_path: Path) -> None:
    golden = json.loads((GOLDEN / f"{library}.json").read_text())[name]
    for role, texts in encode(checkpoints.write(library, name, tmp_path)).items():
        assert len(texts) == len(golden[role])
        for text, expected in zip(texts, golden[role], strict=True):
            np.testing.assert_allclose(
                text, np.array(expected).reshape(-1, checkpoints.DIM), atol=TOLERANCE
            )


def expect_pylates(folder: Path, *, tolerance: float) -> None:
    """That ours are the embeddings which PyLate computes now."""
    from golden.make_golden import encode_pylate

    queries, documents = encode_pylate(folder, checkpoints.QUERIES, checkpoints.DOCUMENTS)
    ours = encode(folder)
    for theirs, role in ((queries, "queries"), (documents, "documents")):
        for text, expected in zip(ours[role], theirs, strict=True):
            np.testing.assert_allclose(text, expected, atol=tolerance)


@pytest.mark.pylate
@pytest.mark.parametrize("name", list(checkpoints.catalogue()["pylate"]))
def test_embeddings_equal_pylate_live(name: str, tmp_path: Path) -> None:
    expect_pylates(checkpoints.write("pylate", name, tmp_path), tolerance=TOLERANCE)


@pytest.mark.pylate
def test_embeddings_of_the_model_that_comes_along_equal_pylates() -> None:
    # transformers 5 keeps the halves that the config names
    expect_pylates(TINY, tolerance=HALVES)


@pytest.mark.pylate
@pytest.mark.parametrize("backbone", list(checkpoints.BACKBONES))
def test_a_checkpoint_that_pylate_saves_is_read_with_equal_embeddings(
    backbone: str, tmp_path: Path
) -> None:
    from pylate import models

    plain = checkpoints.plain(tmp_path / "plain", backbone)
    made = models.ColBERT(
        str(plain), device="cpu", embedding_size=8, query_length=20, skiplist_words=[","]
    )
    made.save_pretrained(str(tmp_path / "saved"))
    encoder = Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    assert encoder.settings.query_length == 20
    assert encoder.settings.skiplist == (",",)
    expect_pylates(tmp_path / "saved", tolerance=TOLERANCE)
