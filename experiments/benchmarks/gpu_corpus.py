"""Made-up token embeddings with the shape of real ones: documents about something, in words."""

from __future__ import annotations

from pathlib import Path

import torch

from colmodern.files import sha256_of_json
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import ShardWriter

_DIM, _WORDS, _TOPICS = 128, 20_000, 400
_MEAN_TOKENS, _QUERY_TOKENS = 120, 32
_SHARD = 4096  # documents


def write_stores(folder: Path, n_docs: int, n_queries: int, device: str) -> tuple[Path, Path]:
    """Stores of documents and queries: words have places, topics words, tokens some noise.

    A query is made of words of one document, with other noise.
    """
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    def whole(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator, device=device)

    centres = normal(_WORDS, _DIM)
    of_topic = whole(_WORDS, _TOPICS, 600)
    common = whole(_WORDS, 200)
    lengths = _MEAN_TOKENS * 2 // 3 + whole(_MEAN_TOKENS * 2 // 3, n_docs)
    written = [ShardWriter(folder / name, fingerprint=sha256_of_json([name, n_docs]), dtype="float16")
               for name in ("documents", "queries")]  # fmt: skip
    query_tokens: list[torch.Tensor] = []
    for first in range(0, n_docs, _SHARD):
        sizes = lengths[first : first + _SHARD]
        n = int(sizes.sum())
        owners = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes)
        topic = whole(_TOPICS, len(sizes))[owners]
        words = torch.where(whole(3, n) > 0, of_topic[topic, whole(600, n)], common[whole(200, n)])
        written[0].add(
            _texts(centres[words] + 0.6 * normal(n, _DIM), sizes.tolist(), words),
            [str(first + i) for i in range(len(sizes))],
        )
        if len(query_tokens) < n_queries:
            for document in whole(len(sizes), min(n_queries, len(sizes))).tolist():
                own = words[owners == document]
                query_tokens.append(own[whole(len(own), _QUERY_TOKENS)])
    words = torch.cat(query_tokens[:n_queries])
    queries = centres[words] + 0.8 * normal(len(words), _DIM)
    n_done = len(queries) // _QUERY_TOKENS
    written[1].add(
        _texts(queries, [_QUERY_TOKENS] * n_done, words), [f"q{i}" for i in range(n_done)]
    )
    for writer in written:
        writer.finish()
    return folder / "documents", folder / "queries"


def _texts(values: torch.Tensor, lengths: list[int], words: torch.Tensor) -> TokenEmbeddings:
    units = values / values.norm(dim=1, keepdim=True)
    return TokenEmbeddings(
        units.half().cpu().numpy(), offsets_of(lengths), words.int().cpu().numpy()
    )
