from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

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


class Graph:
    """A recording on the CPU: it keeps nothing."""

    def replay(self) -> None:
        pass


@contextmanager
def record(graph: Graph, capture_error_mode: str) -> Iterator[None]:
    """As torch.cuda.graph where work breaks off: a warning, which pytest makes an error."""
    try:
        yield
    except RuntimeError:
        warnings.warn("The CUDA Graph is empty. This usually means ...", stacklevel=1)
        raise


def full(given: torch.Tensor) -> torch.Tensor:
    raise torch.cuda.OutOfMemoryError("injected")


def test_a_gpu_without_memory_for_a_recording_is_out_of_memory_and_records_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replays = Replays(torch.device("cpu"))
    replays._is_usable = True
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    one = torch.ones(1)
    replays.run("other", one, torch.neg)
    replays.run("other", one, torch.neg)
    assert replays._seen["other"] is not None
    replays.run("key", one, torch.neg)
    with caplog.at_level(logging.WARNING), pytest.raises(torch.cuda.OutOfMemoryError):
        replays.run("key", one, full)
    assert "no memory on cpu to record a search (injected)" in caplog.text
    assert not replays._seen  # what other recordings held is free
    calls = []

    def short_while_recorded(given: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return full(given) if len(calls) == 2 else given * 2

    for _ in range(3):  # a plain call, one that cannot be recorded and is plain, a plain one
        assert replays.run("key", one, short_while_recorded).item() == 2.0
    replays.run("key", one, short_while_recorded)
    assert replays._seen["key"] is not None


def test_a_recording_that_is_forgotten_keeps_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    replays, given = Replays(torch.device("cpu")), torch.ones(1)
    replays._is_usable = True
    for _ in range(2):
        replays.run("key", given, torch.neg)
    is_alive = weakref.ref(given)
    del given
    assert is_alive() is not None
    replays.forget("key")
    replays.forget("key")
    assert is_alive() is None


@pytest.mark.parametrize("message", ["CUDA error: out of memory", "capture was invalidated"])
def test_an_error_of_ending_a_recording_does_not_hide_a_shortage(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def ends_badly(graph: Graph, capture_error_mode: str) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError(message)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", ends_badly)
    replays, calls = Replays(torch.device("cpu")), []
    replays._is_usable = True

    def work(given: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return full(given) if len(calls) == 2 else given

    replays.run("key", torch.ones(1), work)
    replays.run("key", torch.ones(1), work)
    assert len(calls) == 3
    assert replays._is_usable


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_runs_out_of_memory_while_it_records_goes_on_recording() -> None:
    replays, calls = Replays(torch.device("cuda", 0)), []

    def work(given: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return given * 2

    with torch.cuda.device(0):
        for i in range(6):
            assert replays.run("key", torch.tensor([float(i)]), work).item() == 2.0 * i
    # plain, broken off and plain again, plain, recorded
    assert len(calls) == 5
