from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern.encoder.model import attention
from colmodern.encoder.model.attention import (
    AttentionBuffers,
    attend_in_band,
    attend_to_texts,
    make_band,
)
from colmodern.encoder.model.packing import Packing, pack

N_HEADS, HEAD_DIM = 2, 8
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
texts = st.lists(st.tuples(st.integers(1, 70), st.integers(0, 70)), min_size=1, max_size=4)


def naive_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, is_seen: np.ndarray
) -> torch.Tensor:
    """One head with all its scores; a row that sees nothing is 0."""
    scores = q.double() @ k.double().T / math.sqrt(q.shape[1])
    weights = np.exp(scores.numpy()) * is_seen
    shares = weights / np.maximum(weights.sum(1, keepdims=True), 1e-30)
    return torch.from_numpy(shares) @ v.double()


def filled_rows(packing: Packing, half: int, dtype: torch.dtype) -> AttentionBuffers:
    like = torch.empty(0, dtype=dtype)
    rows = AttentionBuffers(packing.n_tokens, like, shape=(N_HEADS, HEAD_DIM), half=half)
    for part in (rows.queries, rows.keys_values):
        part[:] = torch.randn(part.shape, generator=torch.Generator().manual_seed(part.dim()))
    return rows


def check(drawn: list[tuple[int, int]], half: int | None, dtype: torch.dtype) -> None:
    """half: of the window, None for whole texts."""
    lengths = np.array([length for length, _ in drawn])
    packing = pack(lengths, np.minimum(lengths, [n for _, n in drawn]))
    rows = filled_rows(packing, half or 4, dtype)
    queries, (keys, values) = rows.queries.clone(), rows.keys_values.clone()
    if half is None:
        attend_to_texts(rows, packing)
    else:
        attend_in_band(rows, packing, make_band(packing, half, keys))
    text, position = packing.texts(), packing.positions()
    is_seen = (text[:, None] == text) & packing.is_attended()
    if half is not None:
        is_seen &= np.abs(position[:, None] - position) <= half
    for head in range(N_HEADS):
        expected = naive_attention(queries[:, head], keys[head], values[head], is_seen)
        found = rows.queries[:, head].double()
        torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=0)
    assert torch.equal(rows.keys_values, torch.stack([keys, values]))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("half", [None, 1, 7, 40])
@settings(max_examples=15)
@given(drawn=texts)
def test_attention_is_that_of_a_loop_over_tokens(dtype, half, drawn) -> None:
    check(drawn, half, dtype)


@pytest.mark.parametrize("half", [None, 7])
def test_pieces_of_scores_join_without_a_seam(half, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colmodern.encoder.model.attention._CHUNK_SCORES", 50)
    check([(23, 23), (23, 23), (23, 11), (60, 60), (3, 3)], half, torch.bfloat16)


@pytest.mark.parametrize("half", [None, 7])
def test_steps_of_queries_join_without_a_seam(half, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention._CHUNK, "cpu", 32)
    check([(150, 150), (23, 23), (23, 23), (23, 11), (60, 40), (3, 3)], half, torch.float32)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_blocks_as_gpus_take_them_give_the_same(dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention._BLOCK, "cpu", attention._BLOCK["cuda"])
    monkeypatch.setitem(attention._CHUNK, "cpu", attention._CHUNK["cuda"])
    check([(150, 150), (131, 131), (60, 40), (23, 11), (3, 3)], 20, dtype)


def test_nothing_to_see_adds_nothing() -> None:
    packing = pack(np.array([30]), np.array([10]))
    rows = filled_rows(packing, 4, torch.float32)
    attend_in_band(rows, packing, make_band(packing, 4, rows.queries))
    is_zero = (rows.queries == 0).all(dim=2).all(dim=1)
    assert is_zero.tolist() == [position > 13 for position in range(30)]
