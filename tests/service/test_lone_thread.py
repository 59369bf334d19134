"""Requests that come one by one are encoded with more of PyTorch's threads, where that is faster."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from colmodern.encoder.encoder import Encoder
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service import lone_thread
from colmodern.service.batching import EncoderBatcher
from colmodern.service.context import RequestContext
from colmodern.service.lone_thread import LoneThread
from colmodern.service.metrics import Metrics
from colmodern.service.search_threads import JointWork, SearchThreads
from colmodern.service.settings import BatchingSettings

FAST, SLOW = 0.001, 0.05  # seconds


@contextmanager
def calibrated(seconds: Callable[[int], float]) -> Iterator[LoneThread]:
    """A thread for an encoder that takes so long with a number of threads."""
    lone = LoneThread()
    try:
        asyncio.run(lone.calibrate(lambda: time.sleep(seconds(torch.get_num_threads()))))
        yield lone
    finally:
        lone.shutdown()


@pytest.mark.parametrize(("n_cpus", "fastest"), [(4, 1), (4, 2), (4, 4), (2, 2), (64, 8)])
def test_the_fastest_number_of_threads_is_taken(
    monkeypatch: pytest.MonkeyPatch, n_cpus: int, fastest: int
) -> None:
    monkeypatch.setattr(lone_thread, "cpu_count", lambda: n_cpus)
    with calibrated(lambda n_threads: FAST if n_threads == fastest else SLOW) as lone:
        assert lone.n_threads == fastest


def test_it_takes_requests_after_four_that_came_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone_thread, "cpu_count", lambda: 2)
    with calibrated(lambda n_threads: FAST if n_threads == 2 else SLOW) as lone:
        assert [lone.takes(is_alone=True) for _ in range(6)] == [False] * 4 + [True] * 2
        assert not lone.takes(is_alone=False)
        assert not lone.takes(is_alone=True)


def test_where_one_thread_is_fastest_it_takes_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone_thread, "cpu_count", lambda: 2)
    with calibrated(lambda n_threads: FAST if n_threads == 1 else SLOW) as lone:
        assert not any(lone.takes(is_alone=True) for _ in range(9))


def test_it_pauses_ever_longer_while_queries_take_far_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lone_thread, "cpu_count", lambda: 2)
    with calibrated(lambda n_threads: FAST if n_threads == 2 else SLOW) as lone:
        now = 1000.0
        monkeypatch.setattr(lone_thread.time, "perf_counter", lambda: now)
        for _ in range(5):
            lone.takes(is_alone=True)
        lone.note(3 * SLOW)  # not yet
        assert lone.takes(is_alone=True)
        for pause in (10, 20, 40):
            lone.note(9 * SLOW)
            assert not lone.takes(is_alone=True)
            now += pause - 1
            assert not lone.takes(is_alone=True)
            now += 2
            assert lone.takes(is_alone=True)
        lone.note(FAST)
        lone.note(9 * SLOW)
        now += 11
        assert lone.takes(is_alone=True)


def test_requests_one_by_one_are_as_in_the_library(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoneThread, "_calibrate", lambda lone, _: setattr(lone, "n_threads", 2))
    texts = [f"the query number {number}" for number in range(6)]

    def work(batch: Any) -> list[tuple[str, TokenEmbeddings]]:
        return [(threading.current_thread().name, queries) for queries in batch]

    async def main() -> None:
        metrics = Metrics(lambda: [])
        batcher, searches = (
            EncoderBatcher(BatchingSettings(), metrics),
            SearchThreads(1, 9, metrics),
        )
        searches.start()
        batcher.start(encoder, searches)
        try:
            await batcher.calibrate("a query")
            for number, text in enumerate(texts):
                context = RequestContext.of_server(30_000)
                name, queries = await batcher.encode_and(
                    context, [text], "query", JointWork(None, work)
                )
                assert name.startswith("lone-encoder" if number >= 4 else "encoder")
                while batcher._own_threads._n_searching:  # the thread is not done with its request
                    await asyncio.sleep(0.001)
                [expected] = encoder.encode_queries([text])
                np.testing.assert_allclose(queries.values, expected, atol=1e-5)
        finally:
            await batcher.stop()

    asyncio.run(main())
