"""Cutting texts into shards and encoding these one after another, in a loop that never waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import tokenize_passages
from colmodern.encoder.text.settings import Role
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.encoding.overlap import Prefetcher, WriteBehind
from colmodern.passages import passage_ids
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.writer import N_TEXTS

Text = tuple[str, str]  # (id, text)


@dataclass(frozen=True)
class Shard:
    """Consecutive texts of a corpus; ``index`` counts shards from 0."""

    index: int
    texts: list[Text]

    @property
    def doc_ids(self) -> list[str]:
        """Ids of the shard's texts."""
        return [text_id for text_id, _ in self.texts]


@dataclass(frozen=True)
class EncodedShard:
    """A shard's embeddings, pooled where the encoder pools, and what their making cost."""

    index: int
    doc_ids: list[str]
    embeddings: TokenEmbeddings
    facts: dict[str, float]


def cut_shards(
    texts: Iterable[Text], *, first: int, limit: int | None, shard_tokens: int
) -> Iterator[Shard]:
    """Texts in shards of about ``shard_tokens`` tokens, by a guess from their letters.

    Args:
        texts: (id, text) pairs.
        first: Index of the first shard.
        limit: Tokens that are read of a text; None: all.
        shard_tokens: Tokens after which a shard ends.
    """
    shard: list[Text] = []
    tokens, index = 0, first
    for text_id, text in texts:
        shard.append((text_id, text))
        tokens += guess_tokens(text, limit)
        if tokens >= shard_tokens:
            yield Shard(index, shard)
            shard, tokens, index = [], 0, index + 1
    if shard:
        yield Shard(index, shard)


def guess_tokens(text: str, limit: int | None) -> int:
    """Tokens of a text, by a guess; limit: tokens that are read of it, None for all."""
    guess = len(text) // 4 + 2  # about four letters a token
    return guess if limit is None else min(limit, guess)


def encode_shards(
    shards: Iterable[Shard],
    encoder: Encoder,
    role: Role,
    write: Callable[[EncodedShard], object],
    *,
    progress: Progress,
    spans: bool = False,
    passages: bool = False,
    cancel: Callable[[], object] | None = None,
) -> None:
    """Encode shards in order; the next is tokenized and the last is written meanwhile.

    At most two shards' embeddings are in memory. What any of the threads raises is raised here.

    Args:
        shards: Shards in the order in which they are written.
        encoder: Tokenizes, encodes and pools.
        role: Whether the texts are queries or documents.
        write: Called in a thread of its own, in the order of the shards.
        progress: Receives the texts that are encoded.
        spans: Whether to keep the characters that each token covers.
        passages: Whether to keep the passages of each text apart.
        cancel: Wakes ``shards`` where it waits for something, when the work ends early.
    """

    def tokenize() -> Iterator[tuple[Shard, TokenizedTexts]]:
        for shard in shards:
            texts = [text for _, text in shard.texts]
            if passages:
                yield shard, tokenize_passages(encoder, texts, spans=spans)
            else:
                yield shard, encoder.tokenize(texts, role, spans=spans)

    def finish(shard: EncodedShard) -> None:
        if role == "document":
            shard = replace(shard, embeddings=encoder.pool(shard.embeddings))
        write(shard)

    before = time.perf_counter()
    with Prefetcher(tokenize(), cancel=cancel) as tokenized, WriteBehind(finish) as behind:
        for shard, tokens in tokenized:
            ready = time.perf_counter()
            embeddings = encoder.encode_tokens(tokens, progress=progress)
            done = time.perf_counter()
            facts = {
                "seconds": done - before,
                "waited_seconds": ready - before,
                **tokens.facts(),
                "n_scored_tokens": embeddings.n_tokens,
            }
            ids = shard.doc_ids
            if passages:
                facts[N_TEXTS] = len(ids)
                ids = passage_ids(ids, np.diff(tokens.offsets).tolist())
            behind.put(EncodedShard(shard.index, ids, embeddings, facts))
            before = done
