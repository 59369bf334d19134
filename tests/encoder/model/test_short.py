"""A few short texts on a CPU, whose layers take all rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from encoder.model.modernberts import draw, least_cosine, make_stock, stock_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern.encoder.model import modernbert
from colmodern.encoder.model.modernbert import PackedModernBert
from colmodern.encoder.model.packing import pack
from colmodern.encoder.model.short import are_short, padded_rows

HALF = 64
FLOAT32 = torch.empty(0)


@pytest.fixture(scope="module")
def stock() -> Any:
    return make_stock()


@pytest.fixture(scope="module")
def model(stock: Any) -> PackedModernBert:
    return PackedModernBert(
        stock.config, stock.state_dict(), device=torch.device("cpu"), dtype=torch.float32
    )


def is_short(*lengths: int, like: torch.Tensor = FLOAT32) -> bool:
    return are_short(pack(np.array(lengths), np.array(lengths)), HALF, like)


@pytest.mark.parametrize("lengths", [[1], [17], [65], [64, 63], [5, 40, 5, 5, 17]], ids=str)
@pytest.mark.parametrize("n_unattended", [0, 4])
def test_every_token_is_that_of_the_eager_forward(
    stock, model, lengths: list[int], n_unattended: int
) -> None:
    assert is_short(*lengths)
    ids, attended = draw(lengths), np.maximum(1, np.array(lengths) - n_unattended)
    with torch.inference_mode():
        found = model(ids, attended)
    assert least_cosine(found, stock_rows(stock, ids, attended)) >= 0.9999


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.tuples(st.integers(0, 65), st.integers(0, 65)), min_size=1, max_size=5))
def test_they_are_as_in_layers_that_take_rows_chunk_by_chunk(
    model, texts: list[tuple[int, int]]
) -> None:
    lengths = [length for length, _ in texts]
    attended = np.array([min(length, n) for length, n in texts])
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        found = model(draw(lengths), attended)
        patch.setattr(modernbert, "are_short", lambda *_: False)
        expected = model(draw(lengths), attended)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_long_texts_many_rows_and_other_dtypes_are_not_short() -> None:
    assert is_short(64, 64)
    assert not is_short(65, 64)
    assert not is_short(66)
    assert not is_short(5, like=torch.empty(0, dtype=torch.bfloat16))
    assert not is_short(5, like=torch.empty(0, device="meta"))


def test_batches_have_one_of_eight_heights() -> None:
    heights = {padded_rows(n) for n in range(1, 129)}
    assert heights == {16, 32, 48, 64, 80, 96, 112, 128}
    assert all(n <= padded_rows(n) < n + 16 for n in range(1, 129))
