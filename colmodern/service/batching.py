"""Encodes the texts of many requests together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import anyio

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import tokenize_passages
from colmodern.encoder.text.pieces import cut_at, join
from colmodern.encoder.text.settings import Role
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.context import RequestContext, answered_in_time
from colmodern.service.errors import overloaded
from colmodern.service.metrics import Metrics
from colmodern.service.queues import Entry, Lane, Queue, as_one
from colmodern.service.search_threads import JointWork, SearchEntry, SearchThreads
from colmodern.service.settings import BatchingSettings
from colmodern.threads import cpu_count

_SHORT = 2000  # characters that the event loop tokenizes itself; more go to a thread
_SHARE = 512  # tokens, at least, that are worth a thread of their own
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

    On CPUs each thread encodes apart from the others: PyTorch's own threads wait for each other after
    every step, which takes longer beside other work. A thread takes its share of the queries that wait,
    encodes them and searches with them, so that none is idle while there is work. Large batches of other
    texts are divided among the threads. On a GPU one thread encodes, and others search; queries wait while
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
        self._n_searching = 0  # threads that encode queries and search with them
        self._counting = threading.Lock()
        self._encoder: Encoder | None = None
        self._threads: list[ThreadPoolExecutor] = []
        self._worker: asyncio.Task[None] | None = None

    def start(self, encoder: Encoder, searches: SearchThreads) -> None:
        """Begin to encode; called once, in the event loop that requests come from.

        Args:
            encoder: The model.
            searches: The threads that search with what was encoded.
        """
        self._encoder, self._searches = encoder, searches
        self._changed = asyncio.Event()
        searches.deliveries.on_delivered = self._look_again
        self._tokenizing = ThreadPoolExecutor(1, "tokenizer")
        self._is_cpu = encoder.device == "cpu"
        self._n_threads = cpu_count() if self._is_cpu else 1
        self._encoding = ThreadPoolExecutor(
            self._n_threads, "encoder", _use_one_thread if self._is_cpu else None
        )
        self._threads = [self._tokenizing, self._encoding]
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Wait for the batch that is being encoded; nothing is encoded after it."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for pool in self._threads:
            pool.shutdown(wait=True, cancel_futures=True)

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
            is_searched = self._is_cpu and not work.waits
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
    def _own_encoder(self) -> Encoder:
        assert self._encoder is not None, "start() comes first"
        return self._encoder

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
        if lane.have_work and self._is_idle and self._has_free_thread:
            self._search(
                [entry]
            )  # each thread that has to wake up first takes a tenth of a millisecond
            return await answered_in_time(context, future)
        queue = self._lanes.setdefault(lane, Queue())
        queue.append(entry)
        is_next = self._is_holding and not self._is_held(lane)
        if self._is_idle or self._is_full(queue) or is_next:
            self._changed.set()
        self._is_idle = False
        return await answered_in_time(context, future)

    async def _work(self) -> None:
        while True:
            lane = await self._next_lane()
            queue = self._lanes[lane]
            await self._wait_for_more(queue)
            n_requests = self._settings.max_requests
            if lane.have_work:  # some wait until the next thread is free, so that it finds work
                n_requests = min(n_requests, -(-self._n_requests // (self._n_threads + 1)))
            entries = queue.take(n_requests, self._settings.max_tokens)
            batch = [entry for entry in entries if await entry.is_wanted()]
            if batch and lane.have_work:
                self._search(batch)
            elif batch:
                await self._encode_batch(lane, batch)

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

    def _look_again(self) -> None:
        """End the wait once a lane is no longer held back."""
        if self._is_holding and not all(
            self._is_held(lane) for lane, queue in self._lanes.items() if queue.entries
        ):
            self._changed.set()

    def _is_held(self, lane: Lane) -> bool:
        """Whether a lane is held back: queries, while threads are busy with those before them."""
        if lane.have_work:
            return not self._has_free_thread
        is_behind = lane.role == "query" and self._searches.are_behind
        return is_behind and not self._is_full(self._lanes[lane])

    @property
    def _has_free_thread(self) -> bool:
        return self._n_searching < self._n_threads

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

    async def _encode_batch(self, lane: Lane, batch: list[Entry]) -> None:
        """Encode a batch and deliver to its entries; after a failure each entry is encoded alone."""
        start = time.perf_counter()
        n_tokens = sum(entry.n_tokens for entry in batch)
        self._metrics.batch_tokens.labels(lane.role).observe(n_tokens)
        for entry in batch:
            entry.context.add("queue", start - entry.arrival)
        try:
            joined = join([entry.texts for entry in batch])
            share = max(
                _SHARE, -(-n_tokens // self._n_threads) + int(joined.lengths.max(initial=0))
            )
            pieces = cut_at(joined, share)
            encode = self._own_encoder.encode_tokens
            if len(pieces) == 1:
                await self._in_thread(lambda: self._deliver(batch, encode(joined), start))
            else:
                works = (self._in_thread(partial(encode, piece)) for piece in pieces)
                self._deliver(batch, as_one(await asyncio.gather(*works)), start)
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    await self._encode_batch(lane, [entry])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)

    def _search(self, batch: list[Entry]) -> None:
        """Encode a batch and do its work in a thread that is free."""
        self._count_searching(1)
        self._encoding.submit(self._encode_and_search, batch)

    def _encode_and_search(self, batch: list[Entry]) -> None:
        start = time.perf_counter()
        try:
            wanted = [entry for entry in batch if not entry.future.done()]
            for entry in wanted:
                entry.context.add("queue", start - entry.arrival)
            if wanted:
                self._encode_here(wanted, start)
        finally:
            self._count_searching(-1)
            if self._is_holding:
                self._searches.deliveries.call(self._look_again)

    def _encode_here(self, batch: list[Entry], start: float) -> None:
        """Encode a batch and do its work; after a failure each entry is encoded alone."""
        self._metrics.batch_tokens.labels("query").observe(sum(entry.n_tokens for entry in batch))
        try:
            joined = join([entry.texts for entry in batch])
            embeddings = self._own_encoder.encode_tokens(joined)
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    self._encode_here([entry], time.perf_counter())
            else:
                self._searches.deliveries.error(batch[0].future, error)
        else:
            self._deliver(batch, embeddings, start)

    def _count_searching(self, change: int) -> None:
        with self._counting:
            self._n_searching += change

    def _deliver(self, batch: Sequence[Entry], embeddings: TokenEmbeddings, start: float) -> None:
        """Deliver to each entry of a batch its own embeddings; may be called from any thread."""
        taken = time.perf_counter() - start
        works, first = [], 0
        for entry in batch:
            queries = embeddings[first : first + entry.n_embedded]
            first += entry.n_embedded
            entry.context.add("encode", taken)
            if entry.work is None:
                self._searches.deliveries.result(entry.future, queries)
            else:
                works.append(SearchEntry(entry.context, entry.work, queries, entry.future))
        if self._is_cpu:
            self._searches.do_here([entry for entry in works if not entry.work.waits])
            works = [entry for entry in works if entry.work.waits]
        for work in works:
            self._searches.submit(work)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._encoding, work)


def _use_one_thread() -> None:
    """Make PyTorch encode in the thread that calls it, without helpers that wait for each other."""
    import torch

    torch.set_num_threads(1)
