"""The parts of a batch's attention on GPUs beside masked attention, all on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from encoder.model.stand_ins import by_texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colmodern.encoder.model import gpu_attention, varlen
from colmodern.encoder.model.attention import (
    AttentionBuffers,
    JoinedBuffers,
    attend_in_band,
    attend_to_texts,
    make_band,
)
from colmodern.encoder.model.gpu_attention import GpuAttention
from colmodern.encoder.model.packing import Packing, pack

HEADS = (2, 8)
LONG, EVEN = 32, 16
LIKE = torch.empty(0)


def masked(rows: torch.Tensor, packing: Packing, half: int | None) -> torch.Tensor:
    """Attention of (n, 3, n_heads, head_dim) rows with a mask of all pairs."""
    text, position = map(torch.from_numpy, (packing.texts(), packing.positions()))
    is_seen = (text[:, None] == text) & torch.from_numpy(packing.is_attended())
    if half is not None:
        is_seen &= (position[:, None] - position).abs() <= half
    q, k, v = rows.permute(1, 2, 0, 3)
    output = F.scaled_dot_product_attention(q, k, v, attn_mask=is_seen)
    output[:, ~is_seen.any(dim=1)] = 0
    return output.transpose(0, 1).flatten(1)


def check(packing: Packing, half: int) -> None:
    attention = GpuAttention(packing, half, LIKE)
    filled = torch.randn(
        (packing.n_tokens, 3, *HEADS), generator=torch.Generator().manual_seed(half)
    )
    for is_local in (True, False):
        buffers = JoinedBuffers(packing.n_tokens, LIKE, shape=HEADS, half=attention.margin)
        buffers.rows.copy_(filled)
        found = attention(buffers, is_local=is_local)
        expected = masked(filled, packing, half if is_local else None)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert torch.equal(buffers.rows[:, 1:], filled[:, 1:])


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_attention, "takes", lambda packing, like: True)
    monkeypatch.setattr(varlen, "_varlen", lambda: by_texts)
    monkeypatch.setattr(gpu_attention, "_LONG", LONG)
    monkeypatch.setattr(gpu_attention, "_EVEN", EVEN)


lengths = st.lists(st.sampled_from([1, 5, 16, 31, 32, 33, 47, 48, 64, 80]), min_size=1, max_size=6)


# what the fixture replaces is the same for all examples
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=lengths, half=st.sampled_from([1, 7, 40]))
def test_parts_are_those_of_masked_attention(like_a_gpu, drawn: list[int], half: int) -> None:
    check(pack(np.array(drawn), np.array(drawn)), half)


@settings(max_examples=15)
@given(drawn=lengths, n_unattended=st.integers(0, 40))
def test_so_is_attention_without_varlen(drawn: list[int], n_unattended: int) -> None:
    check(pack(np.array(drawn), np.maximum(0, np.array(drawn) - n_unattended)), 7)


def test_each_part_goes_where_it_is_fastest(like_a_gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[tuple[str, int, int]] = []
    evenly, to_windows = gpu_attention.attend_evenly, gpu_attention.attend_to_windows
    output = varlen.VarlenAttention.output

    def even(buffers, group):
        parts.append(("cudnn", group.start, group.stop))
        evenly(buffers, group)

    def windows(buffers, band):
        parts.append(("band", 0, band.n_rows))
        to_windows(buffers, band)

    def ragged(self, buffers, *, half):
        parts.append(("varlen", self._rows.start, self._rows.stop))
        return output(self, buffers, half=half)

    monkeypatch.setattr(gpu_attention, "attend_evenly", even)
    monkeypatch.setattr(gpu_attention, "attend_to_windows", windows)
    monkeypatch.setattr(varlen.VarlenAttention, "output", ragged)
    # 64 and 48 are even and long; 50 is long; the others are short
    sizes = np.array([64, 64, 50, 48, 16, 9])
    check(pack(sizes, sizes), 7)
    assert parts == [
        ("band", 0, 226), ("varlen", 226, 251),
        ("cudnn", 0, 128), ("cudnn", 178, 226), ("varlen", 128, 178), ("varlen", 226, 251),
    ]  # fmt: skip
    parts.clear()
    check(pack(sizes[-2:], sizes[-2:]), 7)
    assert parts == [("varlen", 0, 25)] * 2


@pytest.mark.parametrize("half", [0, 7])
def test_joined_buffers_are_seen_as_separate_ones_are(half: int) -> None:
    sizes = np.array([150, 131, 60, 3])
    packing = pack(sizes, sizes)
    joined = JoinedBuffers(packing.n_tokens, LIKE, shape=HEADS, half=half)
    apart = AttentionBuffers(packing.n_tokens, LIKE, shape=HEADS, half=half)
    joined.rows.copy_(torch.randn(joined.rows.shape, generator=torch.Generator().manual_seed(0)))
    apart.queries.copy_(joined.queries)
    apart.keys_values.copy_(joined.keys_values)
    for buffers in (joined, apart):
        if half:
            attend_in_band(buffers, packing, make_band(packing, half, LIKE))
        else:
            attend_to_texts(buffers, packing)
    torch.testing.assert_close(joined.queries, apart.queries, atol=1e-6, rtol=0)


def test_the_margin_is_zero_where_memory_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, shape: torch.full(shape, torch.nan))
    sizes = np.array([150])
    packing = pack(sizes, sizes)
    joined = JoinedBuffers(150, LIKE, shape=HEADS, half=7)
    joined.rows.normal_()
    attend_in_band(joined, packing, make_band(packing, 7, LIKE))
    assert joined.queries.isfinite().all()
