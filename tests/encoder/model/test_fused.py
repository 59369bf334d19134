from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checks import run_checks
from encoder.model.modernberts import draw, make_stock
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from colmodern.encoder.model import attention, fused, gpu_attention, memory, modernbert, varlen
from colmodern.encoder.model.modernbert import PackedModernBert
from colmodern.kernels.reference import encoder as reference_encoder

CHECKS = Path(__file__).parent / "check_fused.py"
WINDOW = 20  # to a width of 128 as 128 to 768


def test_fused_layers_give_the_eager_rows_in_the_interpreter() -> None:
    run_checks(CHECKS)


@given(n_rows=st.integers(1, 300_000))
def test_the_mlp_takes_all_rows_in_at_most_two_chunks(n_rows: int) -> None:
    chunks = list(fused.mlp_chunks(n_rows))
    assert [row for chunk in chunks for row in (chunk.start, chunk.stop)][1:-1:2] == [
        chunk.start for chunk in chunks[1:]
    ]
    assert (chunks[0].start, chunks[-1].stop) == (0, n_rows)
    assert len(chunks) == (1 if n_rows <= fused._LEAST_ROWS else 2)


def test_cpus_keep_the_layers_of_their_own() -> None:
    from transformers import ModernBertConfig

    assert not fused.can_fuse(ModernBertConfig(), torch.device("cpu"))
    odd = ModernBertConfig(hidden_size=96, num_attention_heads=2)  # heads of 48 dimensions
    assert not fused.can_fuse(odd, torch.device("cuda", 0))


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes of torch's memory on the CPU that are alive at a time in a call."""
    activities = [ProfilerActivity.CPU]
    with torch.inference_mode(), profile(activities=activities, profile_memory=True) as profiled:
        run()
    events = profiled.profiler.kineto_results.events()
    return max(accumulate(event.nbytes() for event in events if event.name() == "[memory]"))


def in_place(name: str) -> Callable[..., None]:
    """The kernel of the reference on the tensors' own memory: like a GPU's it allocates nothing."""

    def run(*given: Any) -> None:
        arrays = (one.numpy() if isinstance(one, torch.Tensor) else one for one in given)
        getattr(reference_encoder, name)(*arrays)

    return run


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the CPU allocate as a GPU does that has varlen attention."""
    monkeypatch.setitem(attention._BLOCK, "cpu", WINDOW)
    monkeypatch.setitem(attention._CHUNK, "cpu", attention._CHUNK["cuda"])
    monkeypatch.setattr(varlen, "_varlen", lambda: lambda q, *rest, **more: torch.zeros_like(q))
    for module in (varlen, gpu_attention):
        monkeypatch.setattr(module, "takes", lambda packing, like: True)
    monkeypatch.setattr("colmodern.encoder.model.linear.has_onednn", lambda _: False)
    for name in ("add_norm", "gelu_gate", "rotate"):
        monkeypatch.setattr(fused, name, in_place(name))
    monkeypatch.setattr(fused, "_LEAST_ROWS", 128)


@pytest.mark.parametrize("lengths", [[120] * 20, [1152] * 2], ids=["passages", "long"])
def test_memory_is_that_of_the_plain_layers_and_within_its_estimate(
    lengths: list[int], like_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the proportions of ModernBERT-base and activations of two bytes."""
    sizes = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 2}
    sizes["local_attention"] = WINDOW
    model = make_stock(num_hidden_layers=2, **sizes)
    dtype, device, n_tokens = torch.float16, torch.device("cpu"), sum(lengths)
    monkeypatch.setitem(modernbert._CHUNK, "cpu", n_tokens // 4)  # as 16,384 of 65,536
    ids, attended = draw(lengths), np.array(lengths)
    peaks = []
    for can_fuse in (True, False):
        monkeypatch.setattr(modernbert, "can_fuse", lambda *_, can=can_fuse: can)
        packed = PackedModernBert(model.config, model.state_dict(), device=device, dtype=dtype)
        peaks.append(peak_bytes(lambda one=packed: one(ids, attended)))
    assert peaks[0] <= 1.2 * peaks[1]
    monkeypatch.setattr(memory, "can_fuse", lambda *_: True)
    estimate = memory.bytes_of(
        n_tokens, model.config, device="cpu", dtype=dtype, attention="packed", longest=lengths[0]
    )
    assert peaks[0] <= estimate
