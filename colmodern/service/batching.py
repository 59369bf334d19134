"""Encodes the texts of many requests together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import anyio

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import tokenize_passages
from colmodern.encoder.text.pieces import cut_at
from colmodern.encoder.text.settings import Role
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.context import RequestContext, answered_in_time
from colmodern.service.encoder_threads import EncoderThreads
from colmodern.service.errors import overloaded
from colmodern.service.metrics import Metrics
from colmodern.service.queues import Entry, Lane, Queue, as_one
from colmodern.service.search_threads import JointWork, SearchEntry, SearchThreads
from colmodern.service.settings import BatchingSettings

_SHORT = 2000  # characters that the event loop tokenizes itself; more go to a thread
_LOOK_AGAIN = 0.05  # seconds between looks at the search threads, should they deliver nothing
Result = TypeVar("Result")


class EncodedTexts(NamedTuple):
    """The embeddings of a request's texts, not pooled, and counts of their tokens."""

    embeddings: TokenEmbeddings
    counts: Sequence[int]  # (n_texts,) documents of each text: 1, or its passages
    n_tokens: int  # tokens that the model read
    n_cut_tokens: int  # tokens that a length limit removed


class EncoderBatcher:
    """One queue for each role, and threads that encode batch after batch.

    A batch closes at ``max_tokens`` or ``max_requests`` of the settings, or when its first text has
    waited for ``max_wait_ms``; an idle encoder does not wait. Embeddings do not depend on the batch, but
    for the rounding of floats.

    On CPUs a thread takes its share of the queries that wait, encodes them and searches with them, so that
    none is idle while there is work. On a GPU one thread encodes, and others search; queries wait while
    those are behind, until their batch is full.
    """

    def __init__(self, settings: BatchingSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._depth = metrics.queue_depth.labels("encoder")
        self._lanes: dict[Lane, Queue] = {}
        self._n_requests = 0
        self._is_idle = False
        self._is_holding = False  # all that waits is held back
        self._threads: EncoderThreads | None = None
        self._worker: asyncio.Task[None] | None = None

    def start(self, encoder: Encoder, searches: SearchThreads) -> None:
        """Begin to encode; called once, in the event loop that requests come from.

        Args:
            encoder: The model.
            searches: The threads that search with what was encoded.
        """
        self._searches = searches
        self._changed = asyncio.Event()
        self._threads = EncoderThreads(encoder, searches, self._metrics)
        self._threads.on_free = self._tell_free
        searches.deliveries.on_delivered = self._look_again
        self._tokenizing = ThreadPoolExecutor(1, "tokenizer")
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def calibrate(self, query: str) -> None:
        """Choose how queries that come alone are encoded; nothing else is encoded meanwhile."""
        await self._own_threads.calibrate(self._own_encoder.tokenize([query], "query"))

    async def stop(self) -> None:
        """Wait for the batch that is being encoded; nothing is encoded after it."""
        if self._worker is None or self._threads is None:
            return
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._tokenizing.shutdown(wait=True, cancel_futures=True)
        self._threads.shutdown()

    async def encode(
        self,
        context: RequestContext,
        texts: Sequence[str],
        role: Role,
        *,
        spans: bool = False,
        passages: bool = False,
        max_tokens: int | None = None,
    ) -> EncodedTexts:
        """Encode the texts of a request, in batches with those of others.

        Args:
            context: The request.
            texts: Its texts.
            role: "query" or "document".
            spans: Whether to keep the characters of each token.
            passages: Whether to keep the passages of documents apart; the encoder splits them then.
            max_tokens: Tokens of a text that are read at most, also where the encoder splits it.

        Returns:
            Embeddings as from ``Encoder.encode_queries`` and, not pooled, ``encode_documents`` or
            ``encode_passages``.

        Raises:
            InputError: A text cannot be encoded.
            ServiceError: The queue is full (429), or the time of the request is over (503).
        """
        with self._queued():
            lane = Lane(role, spans, passages)
            tokenized, n_cut = await self._tokenized(context, texts, lane, max_tokens)
            # one piece after another, so that small requests get their turns beside large ones
            pieces = [
                await self._encoded(lane, piece, context)
                for piece in cut_at(tokenized, self._settings.max_tokens)
            ]
        counts = tokenized.embedding_counts.tolist()
        return EncodedTexts(as_one(pieces), counts, int(tokenized.attended.sum()), n_cut)

    async def encode_and(
        self,
        context: RequestContext,
        texts: Sequence[str],
        role: Role,
        work: JointWork[Result],
    ) -> Result:
        """Encode the texts of a request, and then do work with their embeddings.

        The thread that encodes does the work itself, or hands it to the threads that search, so that the
        busy event loop sees the result alone.

        Args:
            context: The request.
            texts: Its texts.
            role: "query" or "document".
            work: What is done with their embeddings.

        Returns:
            The result of the work.

        Raises:
            InputError: A text cannot be encoded.
            ServiceError: A queue is full (429), or the time of the request is over (503).
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        with self._queued():
            is_searched = self._own_threads.can_search and not work.waits
            lane = Lane(role, have_work=is_searched)
            tokenized, _ = await self._tokenized(context, texts, lane, None)
            pieces = cut_at(tokenized, self._settings.max_tokens)
            if len(pieces) == 1:
                return await self._wait(lane, pieces[0], context, future, work)
            encoded = [await self._encoded(Lane(role), piece, context) for piece in pieces]
        self._searches.submit(SearchEntry(context, work, as_one(encoded), future))
        return await answered_in_time(context, future)

    def pool(self, documents: TokenEmbeddings) -> TokenEmbeddings:
        """Pool documents as the encoder's settings say."""
        return self._own_encoder.pool(documents)

    @property
    def _own_threads(self) -> EncoderThreads:
        assert self._threads is not None, "start() comes first"
        return self._threads

    @property
    def _own_encoder(self) -> Encoder:
        return self._own_threads.encoder

    @contextmanager
    def _queued(self) -> Iterator[None]:
        """Count a request in the block; raises ServiceError (429) where too many wait."""
        if self._n_requests >= self._settings.queue:
            raise overloaded("the queue of the encoder")
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._n_requests += change
        self._depth.set(self._n_requests)

    async def _tokenized(
        self,
        context: RequestContext,
        texts: Sequence[str],
        lane: Lane,
        max_tokens: int | None,
    ) -> tuple[TokenizedTexts, int]:
        """The tokens of texts, and how many of them a length limit removed."""

        def tokenize() -> TokenizedTexts:
            if lane.are_passages:
                return tokenize_passages(self._own_encoder, texts, spans=lane.has_spans)
            return self._own_encoder.tokenize(
                texts, lane.role, spans=lane.has_spans, max_tokens=max_tokens
            )

        with context.timing("encode"):
            if sum(map(len, texts)) <= _SHORT:
                tokenized = tokenize()
            else:
                loop = asyncio.get_running_loop()
                tokenized = await loop.run_in_executor(self._tokenizing, tokenize)
        if n_cut := int(tokenized.cut.sum()):
            self._metrics.truncated_tokens.labels(lane.role).inc(n_cut)
        return tokenized, n_cut

    async def _encoded(
        self, lane: Lane, texts: TokenizedTexts, context: RequestContext
    ) -> TokenEmbeddings:
        """The embeddings of a piece, once its batch has been encoded."""
        future: asyncio.Future[TokenEmbeddings] = asyncio.get_running_loop().create_future()
        return await self._wait(lane, texts, context, future)

    async def _wait(
        self,
        lane: Lane,
        texts: TokenizedTexts,
        context: RequestContext,
        future: asyncio.Future[Result],
        work: JointWork[Result] | None = None,
    ) -> Result:
        """Queue a piece, and wait for its embeddings or for the result of the work with them."""
        entry = Entry(texts, context, not self._is_idle, future, work)
        if lane.have_work and self._is_idle and self._own_threads.has_free:
            # at once: each task or thread that has to wake up first takes a tenth of a millisecond
            self._own_threads.search([entry])
            return await answered_in_time(context, future)
        queue = self._lanes.setdefault(lane, Queue())
        queue.append(entry)
        is_next = self._is_holding and not self._is_held(lane)
        if self._is_idle or self._is_full(queue) or is_next:
            self._changed.set()
        self._is_idle = False
        return await answered_in_time(context, future)

    async def _work(self) -> None:
        threads = self._own_threads
        while True:
            lane = await self._next_lane()
            queue = self._lanes[lane]
            await self._wait_for_more(queue)
            n_requests = self._settings.max_requests
            if lane.have_work:
                n_requests = min(n_requests, -(-self._n_requests // threads.n_threads))
            entries = queue.take(n_requests, self._settings.max_tokens)
            batch = [entry for entry in entries if await entry.is_wanted()]
            if batch and lane.have_work:
                threads.search(batch)
            elif batch:
                await threads.encode(lane, batch)

    async def _next_lane(self) -> Lane:
        """The lane whose first text has waited longest, once there is one to encode."""
        while True:
            waiting = [(lane, queue) for lane, queue in self._lanes.items() if queue.entries]
            ready = [
                (queue.entries[0].arrival, lane)
                for lane, queue in waiting
                if not self._is_held(lane)
            ]
            if ready:
                return min(ready)[1]
            if waiting:
                await self._hold()
                continue
            self._is_idle = True
            self._changed.clear()
            await self._changed.wait()

    async def _hold(self) -> None:
        """Wait until something that waits is not held back any more."""
        self._changed.clear()
        self._is_holding = True
        self._look_again()  # a thread that became free before does not tell
        with anyio.move_on_after(_LOOK_AGAIN):
            await self._changed.wait()
        self._is_holding = False

    def _tell_free(self) -> None:
        """Look again in the event loop, if it waits; called in a thread that has become free."""
        if self._is_holding:
            self._searches.deliveries.call(self._look_again)

    def _look_again(self) -> None:
        """End the wait once a lane is no longer held back."""
        if self._is_holding and not all(
            self._is_held(lane) for lane, queue in self._lanes.items() if queue.entries
        ):
            self._changed.set()

    def _is_held(self, lane: Lane) -> bool:
        """Whether a lane is held back: queries, while threads are busy with those before them."""
        if lane.have_work:
            return not self._own_threads.has_free
        is_behind = lane.role == "query" and self._searches.are_behind
        return is_behind and not self._is_full(self._lanes[lane])

    async def _wait_for_more(self, queue: Queue) -> None:
        """Wait until a batch is full, or its first text has waited long enough."""
        first = queue.entries[0]
        left = first.arrival + self._settings.max_wait_ms / 1000 - time.perf_counter()
        if not first.waits or left <= 0:
            return
        with anyio.move_on_after(left):
            while not self._is_full(queue):
                self._changed.clear()
                await self._changed.wait()

    def _is_full(self, queue: Queue) -> bool:
        return (
            len(queue.entries) >= self._settings.max_requests
            or queue.n_tokens >= self._settings.max_tokens
        )
