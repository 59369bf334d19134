"""The kernels of colmodern and of peers on the same made-up embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_peers import Documents, peers
from gpu_timing import Limits, card_ms, measure_limits, wall_ms

from colmodern.index.card.replay import Replays
from colmodern.kernels.cuda import compressed, launches
from colmodern.kernels.cuda.assign import assign_centroids
from colmodern.kernels.cuda.exact import score_documents
from colmodern.ragged.embeddings import offsets_of

Row = dict[str, Any]
_DIM, _QUERY_TOKENS, _BYTES = 128, 32, 64
_CHECKED = 1000  # documents of a scan


class Sizes(NamedTuple):
    """Of what is scored; a card's, and what the interpreter can do."""

    many: int = 10_000
    rerank: tuple[int, ...] = (100, 1000)
    batch: int = 64
    mean: int = 300  # tokens of a document
    scanned: int = 100_000
    candidates: int = 2000
    centroids: int = 1 << 16
    assigned: int = 1 << 17


TINY = Sizes(12, (3,), 5, 40, 12, 6, 300, 200)


class Work(NamedTuple):
    """One kernel at one shape.

    n_bytes, n_flops: that it cannot do without; tokens: of documents times queries, to divide by
    """

    name: str
    shape: str
    kernels: tuple[str, ...]  # whose launches it depends on
    call: Callable[[], torch.Tensor]
    n_bytes: float = 0.0
    n_flops: float = 0.0
    tokens: int = 0
    peers: tuple[tuple[str, Callable[[], torch.Tensor]], ...] = ()
    tolerance: float = 0.02
    truth: Callable[[], torch.Tensor] | None = None
    checked: int | None = None  # the first documents, which truth is of; None: all


def measure_kernels(device: str, *, tune: bool) -> list[Row]:
    """Rows of all kernels; raises SystemExit when one is wrong."""
    sizes = Sizes() if device == "cuda" else TINY
    limits, rows = measure_limits()
    for work in _works(torch.device(device), sizes, device == "cuda"):
        if tune and device == "cuda":
            for name in work.kernels:
                print(
                    f"tuned {name}: {launches.tune(name, torch.device('cuda', 0), work.call, card_ms)}"
                )
        rows += _measured(work, limits)
    return rows


def _measured(work: Work, limits: Limits) -> Iterator[Row]:
    expected = work.truth() if work.truth else None
    for engine, call in (("colmodern", work.call), *work.peers):
        row: Row = {"work": work.name, "shape": work.shape, "engine": engine}
        try:
            found = call()
            if expected is not None:
                error = float((found[..., : work.checked].float() - expected).abs().max())
                row["note"] = f"error {error:.1g}"
                if engine.startswith("colmodern") and not error < work.tolerance:
                    raise SystemExit(f"{work.name}, {work.shape}: wrong by {error}")
            row["ms"], row["wall_ms"] = card_ms(call), wall_ms(call)
        except SystemExit:
            raise
        except Exception as error:
            if engine.startswith("colmodern"):
                raise
            yield {**row, "note": f"not run: {type(error).__name__}: {str(error).splitlines()[:1]}"}
            continue
        seconds = row["ms"] / 1000
        if work.n_bytes and limits.bandwidth:
            row |= {"share": work.n_bytes / seconds / limits.bandwidth, "of": "copy"}
        if work.n_flops and limits.flops:
            row |= {"share": work.n_flops / seconds / limits.flops, "of": "bf16 product"}
        if work.tokens:
            row["ns_per_token_query"] = 1e9 * seconds / work.tokens
        yield row


def _works(device: torch.device, sizes: Sizes, is_card: bool) -> Iterator[Work]:
    yield from _exact(device, sizes, is_card)
    yield from _compressed(device, sizes)
    yield _assign(device, sizes)


def _unit(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    values = torch.randn(shape, device=device)
    return (values / values.norm(dim=-1, keepdim=True)).to(dtype)


def _offsets(n: int, mean: int, device: torch.device) -> torch.Tensor:
    lengths = np.random.default_rng(0).integers(mean * 2 // 3, mean * 4 // 3 + 1, n)
    return torch.from_numpy(offsets_of(lengths)).to(device)


def _exact(device: torch.device, sizes: Sizes, is_card: bool) -> Iterator[Work]:
    # the interpreter has no bfloat16
    dtypes = [torch.bfloat16 if is_card else torch.float16, torch.float32, torch.int8]
    for n in (sizes.many, *sizes.rerank):
        offsets = _offsets(n, sizes.mean, device)
        n_tokens = int(offsets[-1])
        for dtype in dtypes if n == sizes.many else dtypes[:1]:
            yield _one_query(n, n_tokens, offsets, dtype, device)
    offsets = _offsets(sizes.many, sizes.mean, device)
    documents = Documents(_unit((int(offsets[-1]), _DIM), device, dtypes[0]), offsets)
    queries = _unit((sizes.batch, _QUERY_TOKENS, _DIM), device, dtypes[0])
    yield Work(
        f"exact, {sizes.batch} queries",
        f"{sizes.batch} x {_QUERY_TOKENS}, {sizes.many} x {sizes.mean}, {_name(dtypes[0])}",
        ("maxsim_many",),
        lambda: score_documents(queries, None, documents.values, documents.offsets),
        n_flops=2.0 * sizes.batch * _QUERY_TOKENS * _DIM * len(documents.values),
        tokens=len(documents.values) * sizes.batch,
        peers=peers(queries, documents),
        truth=lambda: documents.truth(queries),
    )


def _one_query(
    n: int, n_tokens: int, offsets: torch.Tensor, dtype: torch.dtype, device: torch.device
) -> Work:
    is_bytes = dtype == torch.int8
    given = _unit((n_tokens, _DIM), device, torch.float32)
    scales = given.abs().amax(dim=1) / 127 if is_bytes else None
    values = torch.round(given / scales[:, None]).to(dtype) if is_bytes else given.to(dtype)
    plain = values.float() * scales[:, None] if is_bytes else values
    documents = Documents(plain, offsets)
    query = _unit((1, _QUERY_TOKENS, _DIM), device, torch.float16 if is_bytes else dtype)
    others = () if is_bytes or dtype == torch.float32 else peers(query, documents)
    kernel = "maxsim_few_float32" if dtype == torch.float32 else "maxsim_few"

    def call() -> torch.Tensor:
        return score_documents(query, None, values, offsets, doc_scales=scales)

    replays = Replays(device)
    replay = (
        "colmodern, replayed",
        lambda: replays.run(
            0, query, lambda q: score_documents(q, None, values, offsets, doc_scales=scales)
        ),
    )
    return Work(
        "exact, one query",
        f"1 x {_QUERY_TOKENS}, {n} documents, {n_tokens} tokens, {_name(dtype)}",
        (kernel,),
        call,
        n_bytes=float(values.nbytes + (0 if scales is None else scales.nbytes)),
        tokens=n_tokens,
        peers=(replay, *others),
        truth=lambda: documents.truth(query),
        tolerance=1e-3 if dtype == torch.float32 else 0.05,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _compressed(device: torch.device, sizes: Sizes) -> Iterator[Work]:
    offsets = _offsets(sizes.scanned, sizes.mean, device)
    n_tokens = int(offsets[-1])

    def random(high: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(0, high, shape, device=device, dtype=dtype)

    tokens = compressed.Tokens(
        offsets,
        random(sizes.centroids, (n_tokens,), torch.int32),
        random(256, (n_tokens,), torch.uint8),
        random(256, (n_tokens, _BYTES), torch.uint8),
    )
    centroids = (random(255, (sizes.centroids, _DIM), torch.int32) - 127).to(torch.int8)
    scales = torch.full((sizes.centroids,), 1 / (73 * _DIM**0.5), device=device)
    step = torch.full((1,), 0.3 / 255, device=device)
    levels = torch.linspace(-1, 1, 256, device=device)[
        torch.randint(0, 256, (1, 256, 2), device=device)
    ]
    codebook = compressed.Codebook(levels.half(), torch.full((_DIM,), 0.15, device=device))
    for n in (1, 8):
        queries = _unit((n, _QUERY_TOKENS, _DIM), device, torch.float32)
        constants = torch.zeros(n, device=device)
        table, lows, highs = compressed.centroid_table(queries, centroids, scales)
        as_bytes = compressed.table_to_bytes(table, lows, highs, _QUERY_TOKENS)
        shape = f"{n} x {_QUERY_TOKENS}, {sizes.centroids} centroids"
        yield Work(
            "centroid table", shape, ("centroid_table",),
            lambda queries=queries: compressed.centroid_table(queries, centroids, scales)[0],
            n_bytes=float(centroids.nbytes + table.nbytes),
        )  # fmt: skip
        yield Work(
            "table to bytes", shape, ("table_to_bytes",),
            lambda t=table, lo=lows, hi=highs: compressed.table_to_bytes(t, lo, hi, _QUERY_TOKENS).values,
            n_bytes=float(table.nbytes + as_bytes.values.nbytes),
        )  # fmt: skip
        yield Work(
            "scan of codes", f"{shape}, {sizes.scanned} documents", ("scan_codes",),
            lambda b=as_bytes, c=constants: compressed.scan_codes(None, tokens, b, c, _QUERY_TOKENS),
            n_bytes=float(tokens.codes.nbytes), tokens=n_tokens * n, checked=_CHECKED,
            truth=lambda t=table, n=n: _truth_of_codes(tokens, t, n), tolerance=0.2,
        )  # fmt: skip
        own = random(sizes.scanned, (n, sizes.candidates), torch.int32)
        lengths = offsets[1:] - offsets[:-1]
        yield Work(
            "compressed tokens, each query's own",
            f"{n} x {_QUERY_TOKENS}, {sizes.candidates} documents, 4 bits", ("score_tokens",),
            lambda q=queries, o=own, t=table, c=constants: compressed.score_tokens(
                q, o, tokens, t, codebook, step, c
            ),
            tokens=int(lengths[own.long()].sum()), tolerance=0.05,
            truth=lambda q=queries, o=own: _truth_of_tokens(q, o, tokens, centroids, scales, codebook, step),
            peers=peers_of_residuals(queries, tokens, centroids, sizes) if n == 1 else (),
        )  # fmt: skip
        if n == 1:
            yield _from_host(queries, own, tokens, table, codebook, step, constants)
        shared = own[0].contiguous()
        yield Work(
            "compressed tokens, shared",
            f"{n} x {_QUERY_TOKENS}, {sizes.candidates} documents, 4 bits", ("score_tokens_shared",),
            lambda q=queries, o=shared, t=table, c=constants: compressed.score_tokens(
                q, o, tokens, t, codebook, step, c
            ),
            tokens=int(lengths[shared.long()].sum()) * n, tolerance=0.05,
            truth=lambda q=queries, o=shared: _truth_of_tokens(
                q, o.expand(len(q), -1), tokens, centroids, scales, codebook, step
            ),
        )  # fmt: skip


def _from_host(
    queries: torch.Tensor,
    own: torch.Tensor,
    tokens: compressed.Tokens,
    table: torch.Tensor,
    codebook: compressed.Codebook,
    step: torch.Tensor,
    constants: torch.Tensor,
) -> Work:
    """Residuals of a corpus that is larger than the card: read through the bus by the kernel."""
    residuals = tokens.residuals.cpu()
    on_host = residuals.pin_memory() if torch.cuda.is_available() else residuals
    parts = tokens._replace(residuals=on_host)
    arguments = (table, codebook, step, constants)
    lengths = tokens.doc_offsets[1:] - tokens.doc_offsets[:-1]
    return Work(
        "compressed tokens, residuals in pinned memory",
        f"1 x {_QUERY_TOKENS}, {own.shape[1]} documents, 4 bits",
        (),
        lambda: compressed.score_tokens(queries, own, parts, *arguments),
        tokens=int(lengths[own.long()].sum()),
        tolerance=1e-3,
        truth=lambda: compressed.score_tokens(queries, own, tokens, *arguments),
    )


def _truth_of_codes(tokens: compressed.Tokens, table: torch.Tensor, n: int) -> torch.Tensor:
    """Scores of the first documents, from the table that bytes are made of."""
    offsets = tokens.doc_offsets[: _CHECKED + 1]
    rows = table[tokens.codes[: int(offsets[-1])].long()].float()
    # a row of the table is what a token has in common with each query token
    one = torch.eye(_QUERY_TOKENS, device=table.device)[None]
    parts = rows.reshape(len(rows), n, _QUERY_TOKENS).unbind(dim=1)
    return torch.cat([Documents(part, offsets).truth(one) for part in parts])


def _truth_of_tokens(
    queries: torch.Tensor,
    docs: torch.Tensor,
    tokens: compressed.Tokens,
    centroids: torch.Tensor,
    scales: torch.Tensor,
    codebook: compressed.Codebook,
    step: torch.Tensor,
) -> torch.Tensor:
    """Scores of each query's documents, all of them decoded in float32."""
    out = []
    for query, own in zip(queries, docs.long(), strict=True):
        lengths = tokens.doc_offsets[own + 1] - tokens.doc_offsets[own]
        offsets = torch.zeros(len(own) + 1, dtype=torch.int64, device=own.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        places = torch.arange(int(offsets[-1]), device=own.device)
        places += torch.repeat_interleave(tokens.doc_offsets[own] - offsets[:-1], lengths)
        codes = tokens.codes[places].long()
        directions = codebook.entries[0].float()[tokens.residuals[places].long()]
        decoded = directions.reshape(len(places), -1) * codebook.scales
        decoded *= tokens.gains[places, None].float() * step
        decoded += centroids[codes].float() * scales[codes, None]
        out.append(Documents(decoded, offsets).truth(query[None])[0])
    return torch.stack(out)


def peers_of_residuals(
    queries: torch.Tensor, tokens: compressed.Tokens, centroids: torch.Tensor, sizes: Sizes
) -> tuple[tuple[str, Callable[[], torch.Tensor]], ...]:
    """late-interaction-kernels on as many documents; one after another, as it takes them."""
    from gpu_peers import residual_peer

    return residual_peer(queries, tokens, centroids, sizes.candidates)


def _assign(device: torch.device, sizes: Sizes) -> Work:
    rng = np.random.default_rng(0)
    n = sizes.assigned
    values = rng.normal(size=(n, _DIM)).astype(np.float32)
    rows = rng.integers(-127, 128, (sizes.centroids // 4, _DIM)).astype(np.int8)
    centroids = torch.from_numpy(rows).to(device)
    scales = torch.full((len(rows),), 0.01, device=device)
    half_norms = (centroids.float() * scales[:, None]).square().sum(dim=1) / 2
    codes = np.empty(n, np.int64)
    groups = (np.array([0, n]), np.array([0]), np.array([len(rows)]))

    def call() -> torch.Tensor:
        assign_centroids(values, np.arange(n), *groups, centroids, None, scales, half_norms, codes)
        return torch.from_numpy(codes)

    def truth() -> torch.Tensor:
        products = (
            torch.from_numpy(values[:64]).to(device) @ (centroids.float() * scales[:, None]).T
        )
        best = (products - half_norms).topk(2, dim=1)
        # where the second best is far off, int8 cannot matter
        clear = (best.values[:, 0] - best.values[:, 1]) > 0.3
        found = call()[:64].to(device)
        expected = torch.where(clear, best.indices[:, 0], found)
        return torch.cat([expected.cpu(), torch.from_numpy(codes[64:])]).float()

    return Work(
        "centroid assignment, with copies",
        f"{n} tokens, {len(rows)} centroids",
        ("assign_tiles",),
        call,
        n_flops=2.0 * n * len(rows) * _DIM,
        truth=truth,
        tolerance=0.5,
    )
