"""The threads that encode batches, and on CPUs search with what they encoded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.pieces import cut_at, join
from colmodern.encoder.text.settings import Role
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.lone_thread import LoneThread
from colmodern.service.metrics import Metrics
from colmodern.service.queues import Entry, Lane, as_one
from colmodern.service.search_threads import SearchEntry, SearchThreads
from colmodern.threads import cpu_count

Result = TypeVar("Result")
_QUERY = 64  # tokens, at most, of a request that comes alone
_SHARE = 512  # tokens, at least, that are worth a thread of their own


class EncoderThreads:
    """Threads for batches of entries: one for each CPU, or a single one for a GPU.

    On CPUs each thread encodes apart from the others: PyTorch's own threads wait for each other after
    every step, which takes longer beside other work. Queries that come one by one have a LoneThread.

    Attributes:
        encoder: The model.
        n_threads: Number of threads.
        can_search: Whether they also search with the queries that they encode.
        on_free: Called in each thread that has searched.
    """

    def __init__(self, encoder: Encoder, searches: SearchThreads, metrics: Metrics) -> None:
        """Make the threads; they begin with the first batch.

        Args:
            encoder: The model.
            searches: The threads that do other work with what was encoded.
            metrics: Its histogram shows the sizes of batches.
        """
        self.encoder = encoder
        self.can_search = encoder.device == "cpu"
        self.n_threads = cpu_count() if self.can_search else 1
        self.on_free: Callable[[], None] = lambda: None
        self._searches, self._metrics = searches, metrics
        self._pool = ThreadPoolExecutor(
            self.n_threads, "encoder", _use_one_thread if self.can_search else None
        )
        self._lone = LoneThread()
        self._n_searching = self._n_encoding = 0
        self._counting = threading.Lock()

    @property
    def has_free(self) -> bool:
        """Whether a thread does not search."""
        return self._n_searching < self.n_threads

    async def calibrate(self, query: TokenizedTexts) -> None:
        """Choose how many of PyTorch's threads help with a query that comes alone."""
        if self.can_search:
            await self._lone.calibrate(partial(self.encoder.encode_tokens, query))

    def shutdown(self) -> None:
        """Wait for the batches that are being encoded."""
        self._lone.shutdown()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def search(self, batch: Sequence[Entry]) -> None:
        """Encode a batch of queries and do its work in a thread that is free."""
        is_idle = not (self._n_searching or self._n_encoding)
        is_alone = is_idle and len(batch) == 1 and batch[0].n_tokens <= _QUERY
        self._count_searching(1)
        if self._lone.takes(is_alone=is_alone):
            self._lone.submit(partial(self._encode_and_search, batch, self._lone.note))
        else:
            self._pool.submit(self._encode_and_search, batch)

    async def encode(self, lane: Lane, batch: Sequence[Entry]) -> None:
        """Encode a batch and deliver to its entries; after a failure each entry is encoded alone.

        Several threads divide a large batch.
        """
        self._n_encoding += 1
        try:
            await self._encode(batch, self._begun(lane.role, batch))
        finally:
            self._n_encoding -= 1

    async def _encode(self, batch: Sequence[Entry], start: float) -> None:
        try:
            joined = join([entry.texts for entry in batch])
            longest = int(joined.lengths.max(initial=0))
            n_tokens = sum(entry.n_tokens for entry in batch)
            pieces = cut_at(joined, max(_SHARE, -(-n_tokens // self.n_threads) + longest))
            if len(pieces) == 1:
                await self._in_thread(partial(self._encode_and_deliver, batch, joined, start))
            else:
                encode = self.encoder.encode_tokens
                works = [self._in_thread(partial(encode, piece)) for piece in pieces]
                self._deliver(batch, as_one(await asyncio.gather(*works)), start)
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    await self._encode([entry], time.perf_counter())
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)

    def _encode_and_search(
        self, batch: Sequence[Entry], note: Callable[[float], None] = lambda _: None
    ) -> None:
        """Do what ``search`` promises; ``note`` takes the seconds of encoding."""
        try:
            if wanted := [entry for entry in batch if not entry.future.done()]:
                self._encode_queries(wanted, self._begun("query", wanted), note)
        finally:
            self._count_searching(-1)
            self.on_free()

    def _encode_queries(
        self, batch: Sequence[Entry], start: float, note: Callable[[float], None]
    ) -> None:
        """Encode queries and do their work; after a failure each entry is encoded alone."""
        try:
            embeddings = self.encoder.encode_tokens(join([entry.texts for entry in batch]))
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    self._encode_queries([entry], time.perf_counter(), note)
            else:
                self._searches.deliveries.error(batch[0].future, error)
        else:
            note(time.perf_counter() - start)
            self._deliver(batch, embeddings, start)

    def _begun(self, role: Role, batch: Sequence[Entry]) -> float:
        """The time at which a batch begins; counts its tokens, and the waiting of its entries."""
        start = time.perf_counter()
        self._metrics.batch_tokens.labels(role).observe(sum(entry.n_tokens for entry in batch))
        for entry in batch:
            entry.context.add("queue", start - entry.arrival)
        return start

    def _encode_and_deliver(
        self, batch: Sequence[Entry], joined: TokenizedTexts, start: float
    ) -> None:
        self._deliver(batch, self.encoder.encode_tokens(joined), start)

    def _deliver(self, batch: Sequence[Entry], embeddings: TokenEmbeddings, start: float) -> None:
        """Deliver to each entry of a batch its own embeddings, or the result of its work."""
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
        if self.can_search:
            self._searches.do_here([entry for entry in works if not entry.work.waits])
            works = [entry for entry in works if entry.work.waits]
        for work in works:
            self._searches.submit(work)

    def _count_searching(self, change: int) -> None:
        with self._counting:
            self._n_searching += change

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _use_one_thread() -> None:
    """Make PyTorch encode in the thread that calls it, without helpers that wait for each other."""
    import torch

    torch.set_num_threads(1)
