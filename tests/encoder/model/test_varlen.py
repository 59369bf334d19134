"""What is handed to torch's attention on GPUs, with a stand-in for its kernel that loops over texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from encoder.model.stand_ins import by_texts

from colmodern.encoder.model import varlen
from colmodern.encoder.model.attention import (
    AttentionBuffers,
    attend_in_band,
    attend_to_texts,
    make_band,
)
from colmodern.encoder.model.packing import pack
from colmodern.encoder.model.varlen import VarlenAttention

LENGTHS = [7, 40, 7, 1, 23]
HALF = 5


@pytest.mark.parametrize("half", [HALF, -1])
def test_torch_is_given_the_texts_that_bands_are_made_of(
    half: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "_varlen", lambda: by_texts)
    packing = pack(np.array(LENGTHS), np.array(LENGTHS))
    filled = torch.randn((3, 2, sum(LENGTHS) + 3, 8), generator=torch.Generator().manual_seed(0))

    def rows() -> AttentionBuffers:  # with rows to spare, as chunks leave them
        made = AttentionBuffers(sum(LENGTHS) + 3, torch.empty(0), shape=(2, 8), half=HALF)
        made.queries[:], made.keys_values[:] = filled[0].transpose(0, 1), filled[1:]
        return made

    found, expected = rows(), rows()
    VarlenAttention(packing.groups, torch.device("cpu"))(found, half=half)
    if half == -1:
        attend_to_texts(expected, packing)
    else:
        attend_in_band(expected, packing, make_band(packing, half, filled))
    torch.testing.assert_close(found.queries, expected.queries, atol=1e-5, rtol=0)
    assert torch.equal(found.keys_values, expected.keys_values)


def test_it_is_left_to_gpus() -> None:
    packing = pack(np.array(LENGTHS), np.array(LENGTHS))
    assert VarlenAttention.of(packing, torch.empty(0, dtype=torch.bfloat16)) is None


class OnCuda:
    """The dtype and device of a tensor that this machine may not be able to make."""

    device = torch.device("cuda", 0)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


@pytest.mark.parametrize(
    ("dtype", "capability", "n_unattended", "is_taken"),
    [
        (torch.bfloat16, (8, 0), 0, True),
        (torch.float16, (9, 0), 0, True),
        (torch.float32, (9, 0), 0, False),
        (torch.bfloat16, (7, 5), 0, False),
        (torch.bfloat16, (9, 0), 1, False),
    ],
)
def test_it_is_taken_where_the_gpu_the_dtype_and_the_texts_allow_it(
    dtype: torch.dtype,
    capability: tuple[int, int],
    n_unattended: int,
    is_taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(varlen, "_varlen", lambda: by_texts)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(VarlenAttention, "__init__", lambda self, *given: taken.append(given))
    lengths = np.array([9, 4])
    VarlenAttention.of(pack(lengths, lengths - n_unattended), OnCuda(dtype))  # type: ignore[arg-type]
    assert bool(taken) == is_taken
