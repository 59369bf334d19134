from __future__ import annotations

import numpy as np
import pytest

from colmodern import Encoder
from colmodern.encoder.embedding import embed_texts
from colmodern.encoder.model.token_model import TokenRows
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.errors import ConfigError
from colmodern.progress import as_progress
from colmodern.ragged.embeddings import TokenEmbeddings

TEXTS = ["one two three", "four", "five six seven eight", "", "nine ten"] * 3


class Late:
    """Rows as a GPU gives them: begun by one call, and there after another."""

    is_here = False

    def __init__(self, rows: np.ndarray, number: int, events: list[str]) -> None:
        self._rows, self._number, self._events = rows, number, events
        events.append(f"start {number}")

    def wait(self) -> np.ndarray:
        self._events.append(f"place {self._number}")
        return self._rows


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


def embed(encoder: Encoder, forward) -> TokenEmbeddings:
    embeddings, _ = embed_texts(
        encoder.tokenize(TEXTS, "document"),
        forward,
        dim=encoder.dim,
        max_tokens=24,
        is_packed=True,
        fingerprint="",
        progress=as_progress(None),
    )
    return embeddings


def test_a_batch_is_placed_while_the_next_one_runs(encoder: Encoder) -> None:
    events: list[str] = []

    def forward(tokenized: TokenizedTexts, batch: np.ndarray) -> Late:
        return Late(encoder._forward(tokenized, batch).wait(), len(events), events)

    found, expected = embed(encoder, forward), embed(encoder, encoder._forward)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    kinds = [event.split()[0] for event in events]
    n_batches = len(kinds) // 2
    assert n_batches > 2
    assert kinds == ["start", *["start", "place"] * (n_batches - 1), "place"]
    started, placed = (
        [event.split()[1] for event in events if event.startswith(kind)]
        for kind in ("start", "place")
    )
    assert started == placed


def test_a_batch_that_is_on_its_way_is_kept_when_the_next_does_not_fit(encoder: Encoder) -> None:
    events: list[str] = []
    n_calls = 0

    def forward(tokenized: TokenizedTexts, batch: np.ndarray) -> Late:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise MemoryError
        return Late(encoder._forward(tokenized, batch).wait(), len(events), events)

    found, expected = embed(encoder, forward), embed(encoder, encoder._forward)
    np.testing.assert_allclose(found.values, expected.values, atol=2e-5)
    assert n_calls > 2


@pytest.mark.gpu
def test_rows_of_a_gpu_arrive_as_they_were_computed() -> None:
    import torch

    unit = torch.randn((300, 8), device="cuda")
    rows = TokenRows(unit, "float32")
    assert not rows.is_here
    np.testing.assert_array_equal(rows.wait(), unit.cpu().numpy())


def test_rows_that_are_not_finite_name_the_dtype() -> None:
    import torch

    unit = torch.zeros((3, 2))
    assert TokenRows(unit, "float16").is_here
    unit[1, 1] = torch.inf
    with pytest.raises(ConfigError, match="dtype='float16': the model gives embeddings that are"):
        TokenRows(unit, "float16").wait()
