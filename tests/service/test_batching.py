"""Requests are encoded together, and each is answered as if it had been alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.errors import InputError
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.batching import EncoderBatcher
from colmodern.service.context import RequestContext
from colmodern.service.errors import ServiceError
from colmodern.service.metrics import Metrics
from colmodern.service.search_threads import SearchThreads
from colmodern.service.settings import BatchingSettings

CLOSE = 1e-5  # rounding of floats in batches of other sizes


class GatedEncoder:
    """The encoder, with its batches noted, which waits where a test says so."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.settings = encoder.settings
        self.device = encoder.device
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []  # texts of each

    def tokenize(self, texts: Any, role: Any, **options: Any) -> TokenizedTexts:
        return self._encoder.tokenize(texts, role, **options)

    def encode_tokens(self, tokenized: TokenizedTexts) -> TokenEmbeddings:
        assert self.gate.wait(30)
        self.batches.append(len(tokenized.cut))
        return self._encoder.encode_tokens(tokenized)


Body = Callable[[EncoderBatcher, GatedEncoder], Awaitable[None]]


def run(encoder: Encoder, body: Body, **settings: Any) -> GatedEncoder:
    """Run a coroutine with a batcher of these settings."""
    gated = GatedEncoder(encoder)

    async def main() -> None:
        metrics = Metrics(lambda: [])
        batcher = EncoderBatcher(BatchingSettings(**settings), metrics)
        searches = SearchThreads(2, 512, metrics)
        searches.start()
        batcher.start(gated, searches)  # type: ignore[arg-type]
        await asyncio.sleep(0)  # the worker begins to wait
        try:
            await asyncio.wait_for(body(batcher, gated), 60)
        finally:
            gated.gate.set()
            await batcher.stop()

    asyncio.run(main())
    return gated


def request(timeout_ms: float = 30_000) -> RequestContext:
    return RequestContext.of_server(timeout_ms)


def test_a_request_alone_does_not_wait_for_others(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        context = request()
        await batcher.encode(context, ["alone"], "query")
        assert context.stages["queue"] < 0.5

    assert run(encoder, body, max_wait_ms=1000).batches == [1]


def test_requests_that_come_while_the_encoder_works_are_one_batch(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        gated.gate.clear()
        first = asyncio.create_task(batcher.encode(request(), ["first"], "query"))
        await asyncio.sleep(0.05)
        texts = [f"text {number}" for number in range(10)]
        others = [asyncio.create_task(batcher.encode(request(), [t], "query")) for t in texts]
        await asyncio.sleep(0.05)
        gated.gate.set()
        encoded = [task.embeddings for task in await asyncio.gather(first, *others)]
        expected = encoder.encode_queries(["first", *texts])
        for rows, own in zip(expected, encoded, strict=True):
            np.testing.assert_allclose(own[0], rows, atol=CLOSE)

    assert run(encoder, body).batches == [1, 10]


@pytest.mark.parametrize(
    ("settings", "batches"),
    [({"max_requests": 4}, [1, 4, 4, 2]), ({"max_tokens": 25}, [1, 2, 2, 2, 2, 2])],
)
def test_a_batch_closes_at_its_requests_and_at_its_tokens(
    encoder: Encoder, settings: dict[str, int], batches: list[int]
) -> None:
    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        gated.gate.clear()
        tasks = [asyncio.create_task(batcher.encode(request(), ["first"], "document"))]
        await asyncio.sleep(0.05)
        text = "one two three four five six"
        assert encoder.tokenize([text], "document").lengths.sum() in range(9, 13)
        for _ in range(10):
            tasks.append(asyncio.create_task(batcher.encode(request(), [text], "document")))
        await asyncio.sleep(0.05)
        gated.gate.set()
        await asyncio.gather(*tasks)

    assert run(encoder, body, **settings).batches == batches


def test_a_large_request_leaves_turns_to_small_ones(encoder: Encoder) -> None:
    finished: list[str] = []

    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        async def encode(name: str, texts: list[str]) -> Any:
            answer = await batcher.encode(request(), texts, "document", spans=True)
            finished.append(name)
            return answer.embeddings

        texts = [f"the text number {number} of a large request" for number in range(40)]
        large = asyncio.create_task(encode("large", texts))
        await asyncio.sleep(0.005)
        small = asyncio.create_task(encode("small", ["a small request"]))
        embeddings, _ = await asyncio.gather(large, small)
        expected = encoder.encode_documents(texts, spans=True)
        np.testing.assert_allclose(embeddings.values, expected.values, atol=CLOSE)
        np.testing.assert_array_equal(embeddings.offsets, expected.offsets)
        np.testing.assert_array_equal(embeddings.token_ids, expected.token_ids)
        assert embeddings.fingerprint == expected.fingerprint
        for number in range(len(texts)):
            np.testing.assert_array_equal(embeddings.spans[number], expected.spans[number])

    assert len(run(encoder, body, max_tokens=64).batches) > 5
    assert finished == ["small", "large"]


def test_a_full_queue_refuses_with_429_and_a_time(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        gated.gate.clear()
        tasks = [
            asyncio.create_task(batcher.encode(request(), ["text"], "query")) for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(ServiceError) as caught:
            await batcher.encode(request(), ["text"], "query")
        assert caught.value.status_code == 429
        assert caught.value.headers is not None
        assert int(caught.value.headers["Retry-After"]) >= 1
        gated.gate.set()
        await asyncio.gather(*tasks)
        await batcher.encode(request(), ["text"], "query")

    run(encoder, body, queue=3)


def test_a_request_past_its_deadline_is_never_encoded(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        gated.gate.clear()
        first = asyncio.create_task(batcher.encode(request(), ["first"], "query"))
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        with pytest.raises(ServiceError, match="could not be answered in 100 ms") as caught:
            await batcher.encode(request(100), ["late"], "query")
        assert caught.value.status_code == 503
        assert time.perf_counter() - start < 5
        gated.gate.set()
        await first

    assert run(encoder, body).batches == [1]


def test_a_client_that_left_is_never_encoded(encoder: Encoder) -> None:
    async def body(batcher: EncoderBatcher, gated: GatedEncoder) -> None:
        async def gone() -> dict[str, str]:
            return {"type": "http.disconnect"}

        gated.gate.clear()
        first = asyncio.create_task(batcher.encode(request(), ["first"], "query"))
        await asyncio.sleep(0.05)
        left = RequestContext({"type": "http", "headers": []}, gone, timeout_ms=30_000)
        second = asyncio.create_task(batcher.encode(left, ["left"], "query"))
        third = asyncio.create_task(batcher.encode(request(), ["stays"], "query"))
        await asyncio.sleep(0.1)
        gated.gate.set()
        await asyncio.gather(first, third)
        with pytest.raises(ServiceError):
            await second

    assert run(encoder, body).batches == [1, 1]


def test_what_fails_in_a_batch_fails_alone(encoder: Encoder) -> None:
    class Failing(GatedEncoder):
        def encode_tokens(self, tokenized: TokenizedTexts) -> TokenEmbeddings:
            if int(tokenized.lengths.max()) > 30:
                raise InputError("texts are too long; shorten them")
            return super().encode_tokens(tokenized)

    async def main() -> None:
        metrics = Metrics(lambda: [])
        batcher = EncoderBatcher(BatchingSettings(), metrics)
        gated = Failing(encoder)
        searches = SearchThreads(2, 512, metrics)
        searches.start()
        batcher.start(gated, searches)  # type: ignore[arg-type]
        gated.gate.clear()
        texts = ["first", "short", "long " * 100, "short too"]
        tasks = [asyncio.create_task(batcher.encode(request(), [t], "document")) for t in texts]
        await asyncio.sleep(0.05)
        gated.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(answer, InputError) for answer in answers] == [False, False, True, False]
        await batcher.stop()
        [histogram] = metrics.batch_tokens.collect()
        [counted] = [sample.value for sample in histogram.samples if sample.name.endswith("_sum")]
        assert counted == encoder.tokenize(texts, "document").lengths.sum()  # each text once

    asyncio.run(main())


def test_a_hundred_clients_at_once_get_what_each_gets_alone(server: Any) -> None:
    bodies = [
        {"query": f"what is said about {number}", "documents": [f"It is {number} {word}" for word in
         ("words long.", "days ago, or more.", "of something else that is said here at length.")]}
        for number in range(100)
    ]  # fmt: skip
    alone = [server.client.post("/v2/rerank", json=body).json()["results"] for body in bodies]

    async def ask_all() -> list[Any]:
        import httpx

        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            posts = [client.post("/v2/rerank", json=body) for body in bodies]
            return [response.json()["results"] for response in await asyncio.gather(*posts)]

    together = asyncio.run(ask_all())
    for one, other in zip(alone, together, strict=True):
        assert [result["index"] for result in one] == [result["index"] for result in other]
        for result, own in zip(one, other, strict=True):
            assert result["score"] == pytest.approx(own["score"], abs=1e-4)
    assert batches_of(server, "document") < 200  # of 200 requests


def batches_of(server: Any, role: str) -> float:
    prefix = f'colmodern_batch_tokens_count{{role="{role}"}} '
    [line] = [x for x in server.client.get("/metrics").text.splitlines() if x.startswith(prefix)]
    return float(line.removeprefix(prefix))
