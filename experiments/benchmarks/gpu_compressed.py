"""The kernels of compressed tokens: tables, scans, decoding for one query and for several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from gpu_peers import Documents, residual_peer
from gpu_work import DIM, QUERY_TOKENS, Sizes, Work, ragged, unit

from colmodern.kernels.cuda import compressed

_BYTES = 64
_CHECKED = 1000  # documents of a scan
_QUERIES = (1, 8)


class Stored(NamedTuple):
    """A made-up corpus of compressed tokens at 4 bits."""

    tokens: compressed.Tokens
    centroids: torch.Tensor
    scales: torch.Tensor
    codebook: compressed.Codebook
    step: torch.Tensor


class WorkQuery(NamedTuple):
    """Queries, and what is made of them first; table: float16."""

    queries: torch.Tensor
    constants: torch.Tensor
    table: torch.Tensor
    lows: torch.Tensor
    highs: torch.Tensor

    def score(self, docs: torch.Tensor, stored: Stored) -> torch.Tensor:
        """Of documents for all queries, (n,), or of each query's own, (n_queries, n)."""
        rest = (self.table, stored.codebook, stored.step, self.constants)
        return compressed.score_tokens(self.queries, docs, stored.tokens, *rest)


def compressed_works(device: torch.device, sizes: Sizes) -> Iterator[Work]:
    """All of them, for one query and for several."""
    stored = _stored(device, sizes)
    for n in _QUERIES:
        queries = unit((n, QUERY_TOKENS, DIM), device, torch.float32)
        made = compressed.centroid_table(queries, stored.centroids, stored.scales)
        work_query = WorkQuery(queries, torch.zeros(n, device=device), *made)
        yield from _tables(work_query, stored, sizes)
        own = _drawn(n, sizes.candidates, sizes.scanned, device)
        yield _own(work_query, own, stored, sizes)
        if n == 1:
            yield _from_host(work_query, own, stored)
        yield _shared(work_query, own[0].contiguous(), stored)


def _stored(device: torch.device, sizes: Sizes) -> Stored:
    offsets = ragged(sizes.scanned, sizes.mean, device)
    n_tokens = int(offsets[-1])

    def random(high: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(0, high, shape, device=device, dtype=dtype)

    levels = torch.linspace(-1, 1, 256, device=device)[
        torch.randint(0, 256, (1, 256, 2), device=device)
    ]
    return Stored(
        compressed.Tokens(
            offsets,
            random(sizes.centroids, (n_tokens,), torch.int32),
            random(256, (n_tokens,), torch.uint8),
            random(256, (n_tokens, _BYTES), torch.uint8),
        ),
        (random(255, (sizes.centroids, DIM), torch.int32) - 127).to(torch.int8),
        torch.full((sizes.centroids,), 1 / (73 * DIM**0.5), device=device),
        compressed.Codebook(levels.half(), torch.full((DIM,), 0.15, device=device)),
        torch.full((1,), 0.3 / 255, device=device),
    )


def _tables(work_query: WorkQuery, stored: Stored, sizes: Sizes) -> Iterator[Work]:
    queries, constants, table, lows, highs = work_query
    as_bytes = compressed.table_to_bytes(table, lows, highs, QUERY_TOKENS)
    shape = f"{len(queries)} x {QUERY_TOKENS}, {sizes.centroids} centroids"
    codes, n_tokens = stored.tokens.codes, len(stored.tokens.codes)
    yield Work(
        "centroid table",
        shape,
        ("centroid_table",),
        lambda: compressed.centroid_table(queries, stored.centroids, stored.scales)[0],
        n_bytes=float(stored.centroids.nbytes + table.nbytes),
        tolerance=0.01,
        truth=lambda: _decoded_centroids(stored) @ queries.reshape(-1, DIM).T,
    )
    yield Work(
        "table to bytes",
        shape,
        ("table_to_bytes",),
        lambda: compressed.table_to_bytes(table, lows, highs, QUERY_TOKENS).values,
        n_bytes=float(table.nbytes + as_bytes.values.nbytes),
        tolerance=1.5,  # in steps of a byte: halves go either way
        truth=lambda: torch.round((table.float() - lows) * (255 / (highs - lows))),
    )
    yield Work(
        "scan of codes",
        f"{shape}, {sizes.scanned} documents",
        ("scan_codes",),
        lambda: compressed.scan_codes(None, stored.tokens, as_bytes, constants, QUERY_TOKENS),
        n_bytes=float(codes.nbytes),
        tokens=n_tokens * len(queries),
        checked=_CHECKED,
        truth=lambda: _truth_of_codes(stored.tokens, table, len(queries)),
        tolerance=0.2,
    )


def _decoded_centroids(stored: Stored) -> torch.Tensor:
    return stored.centroids.float() * stored.scales[:, None]


def _own(work_query: WorkQuery, own: torch.Tensor, stored: Stored, sizes: Sizes) -> Work:
    """Each query's own documents."""
    n, tokens = len(own), (stored.tokens, stored.centroids)
    return Work(
        "compressed tokens, each query's own",
        f"{n} x {QUERY_TOKENS}, {own.shape[1]} documents, 4 bits",
        ("score_tokens",),
        lambda: work_query.score(own, stored),
        tokens=_n_tokens(own, stored),
        tolerance=0.05,
        truth=lambda: _truth_of_tokens(work_query.queries, own, stored),
        # late-interaction-kernels on as many documents; one after another, as it takes them
        peers=residual_peer(work_query.queries, *tokens, sizes.candidates) if n == 1 else (),
    )


def _shared(work_query: WorkQuery, docs: torch.Tensor, stored: Stored) -> Work:
    """The same documents for all queries."""
    n = len(work_query.queries)
    return Work(
        "compressed tokens, shared",
        f"{n} x {QUERY_TOKENS}, {len(docs)} documents, 4 bits",
        ("score_tokens_shared",),
        lambda: work_query.score(docs, stored),
        tokens=_n_tokens(docs, stored) * n,
        tolerance=0.05,
        truth=lambda: _truth_of_tokens(work_query.queries, docs.expand(n, -1), stored),
    )


def _from_host(work_query: WorkQuery, own: torch.Tensor, stored: Stored) -> Work:
    """Residuals of a corpus that is larger than the GPU's memory: read through the bus by the kernel."""
    residuals = stored.tokens.residuals.cpu()
    on_host = residuals.pin_memory() if torch.cuda.is_available() else residuals
    elsewhere = stored._replace(tokens=stored.tokens._replace(residuals=on_host))
    return Work(
        "compressed tokens, residuals in pinned memory",
        f"1 x {QUERY_TOKENS}, {own.shape[1]} documents, 4 bits",
        (),
        lambda: work_query.score(own, elsewhere),
        tokens=_n_tokens(own, stored),
        tolerance=1e-3,
        truth=lambda: work_query.score(own, stored),
    )


def _drawn(n: int, n_docs: int, pool: int, device: torch.device) -> torch.Tensor:
    """(n, n_docs) int32: different documents for each query, out of the first ``pool``."""
    drawn = torch.rand((n, max(pool, n_docs)), device=device).topk(n_docs, dim=1)
    return drawn.indices.int()


def _n_tokens(docs: torch.Tensor, stored: Stored) -> int:
    lengths = stored.tokens.doc_offsets[1:] - stored.tokens.doc_offsets[:-1]
    return int(lengths[docs.long()].sum())


def _truth_of_codes(tokens: compressed.Tokens, table: torch.Tensor, n: int) -> torch.Tensor:
    """Scores of the first documents, from the table that bytes are made of."""
    offsets = tokens.doc_offsets[: _CHECKED + 1]
    rows = table[tokens.codes[: int(offsets[-1])].long()].float()
    # a row of the table is what a token has in common with each query token
    identity = torch.eye(QUERY_TOKENS, device=table.device)[None]
    blocks = rows.reshape(len(rows), n, QUERY_TOKENS).unbind(dim=1)
    return torch.cat([Documents(block, offsets).truth(identity) for block in blocks])


def _truth_of_tokens(
    queries: torch.Tensor,
    docs: torch.Tensor,
    stored: Stored,
) -> torch.Tensor:
    """Scores of each query's documents, all of them decoded in float32."""
    tokens, centroids, scales, codebook, step = stored
    out = []
    for query, own in zip(queries, docs.long(), strict=True):
        lengths = tokens.doc_offsets[own + 1] - tokens.doc_offsets[own]
        offsets = torch.zeros(len(own) + 1, dtype=torch.int64, device=own.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        positions = torch.arange(int(offsets[-1]), device=own.device)
        positions += torch.repeat_interleave(tokens.doc_offsets[own] - offsets[:-1], lengths)
        codes = tokens.codes[positions].long()
        directions = codebook.entries[0].float()[tokens.residuals[positions].long()]
        decoded = directions.reshape(len(positions), -1) * codebook.scales
        decoded *= tokens.gains[positions, None].float() * step
        decoded += centroids[codes].float() * scales[codes, None]
        out.append(Documents(decoded, offsets).truth(query[None])[0])
    return torch.stack(out)
