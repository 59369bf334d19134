"""Threads that search: how embeddings come to them, and results to the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from colmodern import Encoder
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.errors import InputError
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service import batching, encoder_threads
from colmodern.service.batching import EncoderBatcher
from colmodern.service.context import RequestContext
from colmodern.service.errors import ServiceError
from colmodern.service.metrics import Metrics
from colmodern.service.search_threads import Deliveries, JointWork, SearchEntry, SearchThreads
from colmodern.service.settings import BatchingSettings

CLOSE = 1e-5  # rounding of floats in batches of other sizes
Body = Callable[[EncoderBatcher, SearchThreads], Awaitable[None]]


def run(encoder: Encoder, body: Body, *, n_threads: int = 2, queue: int = 100) -> None:
    """Run a coroutine with a batcher and threads that search."""

    async def main() -> None:
        metrics = Metrics(lambda: [])
        batcher = EncoderBatcher(BatchingSettings(max_tokens=200), metrics)
        searches = SearchThreads(n_threads, queue, metrics)
        searches.start()
        batcher.start(encoder, searches)
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(body(batcher, searches), 60)
        finally:
            await batcher.stop()
            searches.pool.shutdown()

    asyncio.run(main())


def alone(work: Callable[[TokenEmbeddings], Any], *, waits: bool = False) -> JointWork[Any]:
    """Work with the queries of one request."""
    return JointWork(None, lambda requests: [work(queries) for queries in requests], waits)


def noting(encoder: Encoder, note: Callable[[int], object]) -> Any:
    """An encoder that tells, before each batch, how many texts it has."""

    class Noting:
        settings = encoder.settings
        device = encoder.device
        tokenize = staticmethod(encoder.tokenize)

        @staticmethod
        def encode_tokens(tokenized: TokenizedTexts) -> TokenEmbeddings:
            note(len(tokenized.cut))
            return encoder.encode_tokens(tokenized)

    return Noting()


def thread_name(_: TokenEmbeddings) -> str:
    """Which thread does a work: one that encodes, or one that searches."""
    return threading.current_thread().name.partition("_")[0]


def request(timeout_ms: float = 30_000) -> RequestContext:
    return RequestContext.of_server(timeout_ms)


def test_every_result_of_many_threads_arrives_once() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        deliveries = Deliveries(loop)
        futures = [loop.create_future() for _ in range(2000)]

        def deliver(first: int) -> None:
            for number in range(first, len(futures), 4):
                deliveries.result(futures[number], number)

        threads = [threading.Thread(target=deliver, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        return await asyncio.wait_for(asyncio.gather(*futures), 30)

    assert asyncio.run(main()) == list(range(2000))


def test_what_is_delivered_to_a_future_that_has_ended_is_dropped() -> None:
    async def main() -> None:
        loop, faults = asyncio.get_running_loop(), list[object]()
        loop.set_exception_handler(lambda _, fault: faults.append(fault))
        deliveries = Deliveries(loop)
        future = loop.create_future()
        future.cancel()
        deliveries.result(future, 1)
        deliveries.error(future, InputError("late"))
        await asyncio.sleep(0.02)
        assert future.cancelled()
        assert not faults

    asyncio.run(main())


@pytest.mark.parametrize("n_texts", [1, 3, 60])  # 60 are more than one piece
def test_work_gets_what_the_texts_are_encoded_to(encoder: Encoder, n_texts: int) -> None:
    texts = [f"the query number {number}" for number in range(n_texts)]

    async def body(batcher: EncoderBatcher, _: SearchThreads) -> None:
        def work(embeddings: TokenEmbeddings) -> tuple[str, TokenEmbeddings]:
            return threading.current_thread().name, embeddings

        context = request()
        name, embeddings = await batcher.encode_and(context, texts, "query", alone(work))
        expected = encoder.encode_queries(texts)
        # a request of one piece is searched in the thread that encoded it
        assert name.startswith("search" if n_texts == 60 else "encoder")
        np.testing.assert_array_equal(embeddings.offsets, expected.offsets)
        np.testing.assert_allclose(embeddings.values, expected.values, atol=CLOSE)
        assert embeddings.fingerprint == expected.fingerprint
        assert set(context.stages) == {"queue", "encode", "search"}

    run(encoder, body)


def test_each_request_is_searched_in_a_free_thread_that_encodes(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_threads, "cpu_count", lambda: 2)

    async def body(batcher: EncoderBatcher, _: SearchThreads) -> None:
        begun, release = threading.Event(), threading.Event()

        def hold(_: TokenEmbeddings) -> None:
            begun.set()
            assert release.wait(30)

        held = asyncio.create_task(batcher.encode_and(request(), ["a"], "query", alone(hold)))
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(3):  # none waits for the request that is held
            name = await batcher.encode_and(request(), ["b"], "query", alone(thread_name))
            assert name == "encoder"
        release.set()
        await held

    run(encoder, body)


def test_work_that_waits_for_others_has_a_thread_that_searches(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, _: SearchThreads) -> None:
        work = alone(thread_name, waits=True)
        assert await batcher.encode_and(request(), ["a"], "query", work) == "search"

    run(encoder, body)


@pytest.mark.parametrize("fails_together", [False, True])
def test_a_thread_takes_its_share_of_what_waits(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, fails_together: bool
) -> None:
    monkeypatch.setattr(encoder_threads, "cpu_count", lambda: 2)
    monkeypatch.setattr(batching, "_LOOK_AGAIN", 100)  # what changes wakes the batcher up
    searched, encoded = list[list[int]](), list[int]()

    def note(n_texts: int) -> None:
        encoded.append(n_texts)
        if fails_together and n_texts > 3:
            raise InputError("too many")

    def search(requests: Sequence[TokenEmbeddings]) -> list[int]:
        searched.append([queries.n_docs for queries in requests])
        return searched[-1]

    async def body(batcher: EncoderBatcher, _: SearchThreads) -> None:
        releases = [threading.Event() for _ in range(2)]
        holding = [
            asyncio.create_task(
                batcher.encode_and(
                    request(), ["a"], "query", alone(lambda _, event=event: event.wait(30))
                )
            )
            for event in releases
        ]
        await asyncio.sleep(0.05)
        work = JointWork("key", search)
        waiting = [
            asyncio.create_task(batcher.encode_and(request(), ["b"] * n, "query", work))
            for n in (1, 2, 3, 1, 1, 1, 1, 1)
        ]
        await asyncio.sleep(0.05)
        assert not searched
        releases[0].set()  # 9 or 10 requests are there, so that this thread takes 5 of them
        assert await asyncio.gather(*waiting) == [1, 2, 3, 1, 1, 1, 1, 1]
        releases[1].set()
        await asyncio.gather(*holding)

    run(noting(encoder, note), body)
    assert encoded[:3] == [1, 1, 8]
    assert searched[:3] == [[1], [2], [3]] if fails_together else searched[0] == [1, 2, 3, 1, 1]
    assert sum(map(len, searched)) == 8


def test_a_request_alone_whose_work_or_text_fails_gets_the_error(encoder: Encoder) -> None:
    def refuse(_: int) -> None:
        raise InputError("cannot encode")

    def fail(_: TokenEmbeddings) -> None:
        raise InputError("no such field")

    async def body(batcher: EncoderBatcher, match: str) -> None:
        for _ in range(5):  # no thread is lost
            with pytest.raises(InputError, match=match):
                await batcher.encode_and(request(), ["alone"], "query", alone(fail))

    run(encoder, lambda batcher, _: body(batcher, "no such field"))
    run(noting(encoder, refuse), lambda batcher, _: body(batcher, "cannot encode"))


def test_an_error_of_the_work_is_that_of_its_request_alone(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, _: SearchThreads) -> None:
        def fail(_: TokenEmbeddings) -> None:
            raise InputError("no such field")

        async def fine() -> int:
            return await batcher.encode_and(request(), ["fine"], "query", alone(lambda e: e.n_docs))

        async def wrong() -> None:
            with pytest.raises(InputError, match="no such field"):
                await batcher.encode_and(request(), ["wrong"], "query", alone(fail))

        answers = await asyncio.gather(fine(), wrong(), fine())
        assert answers == [1, None, 1]

    run(encoder, body)


def test_work_whose_time_is_over_never_begins(encoder: Encoder) -> None:
    begun = []

    async def body(_: EncoderBatcher, searches: SearchThreads) -> None:
        release = threading.Event()
        blocking = asyncio.create_task(searches.run(request(), release.wait))
        await asyncio.sleep(0.02)
        with pytest.raises(ServiceError, match="50 ms"):
            await searches.run(request(50), lambda: begun.append(1))
        release.set()
        await blocking
        await searches.run(request(), lambda: None)

    run(encoder, body, n_threads=1)
    assert not begun


def test_encoded_queries_are_refused_where_the_queue_of_searches_is_full(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, searches: SearchThreads) -> None:
        release = threading.Event()
        held = [asyncio.create_task(searches.run(request(), release.wait)) for _ in range(2)]
        await asyncio.sleep(0.02)
        work = alone(lambda _: None, waits=True)
        with pytest.raises(ServiceError, match="queue of searches"):
            await batcher.encode_and(request(), ["one too many"], "query", work)
        release.set()
        await asyncio.gather(*held)

    run(encoder, body, n_threads=1, queue=1)


def test_queries_wait_for_one_batch_while_searches_are_behind(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_LOOK_AGAIN", 100)  # what changes wakes the batcher up
    batches = list[int]()

    async def body(batcher: EncoderBatcher, searches: SearchThreads) -> None:
        release = threading.Event()
        held = [asyncio.create_task(searches.run(request(), release.wait)) for _ in range(7)]
        await asyncio.sleep(0.02)
        assert searches.are_behind
        tasks = []
        for number in range(8):
            work = batcher.encode_and(
                request(), [f"query {number}"], "query", alone(lambda e: e.n_docs, waits=True)
            )
            tasks.append(asyncio.create_task(work))
            await asyncio.sleep(0.01)
        assert not batches
        start = time.perf_counter()
        document = await batcher.encode(request(), ["a document"], "document")
        assert document.embeddings.n_docs == 1
        assert time.perf_counter() - start < 5
        release.set()
        assert await asyncio.gather(*tasks) == [1] * 8
        await asyncio.gather(*held)

    run(noting(encoder, batches.append), body, n_threads=1)
    assert batches == [1, 8]


def test_waiting_searches_of_one_key_are_made_together(encoder: Encoder) -> None:
    made = list[list[int]]()

    def search(requests: Sequence[TokenEmbeddings]) -> list[int]:
        counts = [queries.n_docs for queries in requests]
        made.append(counts)
        if 3 in counts:
            raise InputError("three are too many")
        return counts

    async def body(_: EncoderBatcher, searches: SearchThreads) -> None:
        release = threading.Event()
        held = asyncio.create_task(searches.run(request(), release.wait))
        await asyncio.sleep(0.02)
        loop, futures = asyncio.get_running_loop(), list[asyncio.Future[int]]()
        for key, n_texts in [("a", 1), ("b", 1), ("a", 2), (None, 1), ("a", 3), ("b", 4)]:
            queries = encoder.encode_queries(["a query"] * n_texts)
            futures.append(loop.create_future())
            work = JointWork(key, search)
            searches.submit(SearchEntry(request(), work, queries, futures[-1]))
        futures[2].cancel()
        release.set()
        await held
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [results[i] for i in (0, 1, 3, 5)] == [1, 1, 1, 4]
        assert isinstance(results[4], InputError)

    run(encoder, body, n_threads=1)
    assert made == [[1, 3], [1], [3], [1, 4], [1]]


def test_work_may_come_while_threads_look_for_what_they_can_do_together(encoder: Encoder) -> None:
    n_works = 1500

    async def body(_: EncoderBatcher, searches: SearchThreads) -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(n_works)]
        queries = encoder.encode_queries(["a query"])
        work = JointWork("key", lambda requests: [1] * len(requests))

        def submit(first: int) -> None:
            for number in range(first, n_works, 3):
                searches.submit(SearchEntry(request(), work, queries, futures[number]))

        threads = [threading.Thread(target=submit, args=(first,)) for first in range(3)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            assert await asyncio.gather(*futures) == [1] * n_works
        finally:
            sys.setswitchinterval(interval)
        while searches.are_behind:  # a thread counts its work as done after the results are there
            await asyncio.sleep(0.01)

    run(encoder, body, queue=n_works)
