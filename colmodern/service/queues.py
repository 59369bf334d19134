"""Texts of requests that wait to be encoded, and pieces of embeddings put together again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from colmodern.encoder.text.settings import Role
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.ragged.embeddings import TokenEmbeddings, joined_embeddings
from colmodern.service.context import RequestContext
from colmodern.service.search_threads import JointWork

_PATIENCE = 0.05  # seconds of waiting after which the client may be gone


class Lane(NamedTuple):
    """What texts that share a batch have in common.

    Attributes:
        role: Their role.
        has_spans: Whether the characters of tokens are kept.
        are_passages: Whether the windows of long texts stay apart.
        have_work: Whether their embeddings are searched with, and not what is wanted.
    """

    role: Role
    has_spans: bool = False
    are_passages: bool = False
    have_work: bool = False


@dataclass
class Entry:
    """A piece of a request that waits to be encoded."""

    texts: TokenizedTexts
    context: RequestContext
    waits: bool  # for others to join; False where the encoder had nothing to do
    future: asyncio.Future[Any]  # gets the embeddings, or the result of the work
    work: JointWork[Any] | None = None  # what is done with the embeddings
    arrival: float = field(default_factory=time.perf_counter)
    n_tokens: int = field(init=False)
    n_embedded: int = field(init=False)  # documents in its embeddings

    def __post_init__(self) -> None:
        self.n_tokens = int(self.texts.lengths.sum())
        self.n_embedded = int(self.texts.embedding_counts.sum())

    async def is_wanted(self) -> bool:
        """Whether a client still waits for it; the connection is asked only after a while."""
        if self.future.done():
            return False
        if time.perf_counter() - self.arrival < _PATIENCE:
            return True
        if await self.context.is_abandoned():
            self.future.set_exception(self.context.out_of_time())
            return False
        return True


class Queue:
    """The entries of a lane that wait, and the number of their tokens."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.n_tokens = 0

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""
        self.entries.append(entry)
        self.n_tokens += entry.n_tokens

    def pop(self) -> Entry:
        """Take the first entry out."""
        entry = self.entries.popleft()
        self.n_tokens -= entry.n_tokens
        return entry

    def take(self, max_requests: int, max_tokens: int) -> list[Entry]:
        """Take the entries of the next batch out: the first one, and others up to the limits."""
        batch, n_tokens = list[Entry](), 0
        while self.entries and len(batch) < max_requests:
            n_tokens += self.entries[0].n_tokens
            if batch and n_tokens > max_tokens:
                break
            batch.append(self.pop())
        return batch


def as_one(pieces: Sequence[TokenEmbeddings]) -> TokenEmbeddings:
    """The texts of all pieces in their order; a single piece is not copied."""
    return pieces[0] if len(pieces) == 1 else joined_embeddings(pieces)
