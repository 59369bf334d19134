from __future__ import annotations

import logging

import pytest
import torch

from colmodern.kernels.cuda.graphs import Replays


def test_a_gpu_that_refuses_to_record_is_searched_by_plain_calls(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replays = Replays(torch.device("cpu"))
    replays._is_usable = True  # the device is the CPU, so recording fails
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    with caplog.at_level(logging.WARNING):
        for i in range(4):
            found = replays.run("key", torch.tensor([float(i)]), lambda given: given * 2)
            assert found.item() == 2.0 * i
    assert caplog.text.count("no CUDA graph on cpu") == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_recorded_search_takes_new_values() -> None:
    replays, calls = Replays(torch.device("cuda", 0)), []

    def work(given: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return given * 2

    with torch.cuda.device(0):
        for i in range(5):
            assert replays.run("key", torch.tensor([float(i)]), work).item() == 2.0 * i
    assert len(calls) == 2  # a plain one, and one that is recorded
