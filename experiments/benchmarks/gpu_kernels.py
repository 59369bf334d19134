"""The kernels of colmodern and of peers on the same made-up embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from gpu_compressed import compressed_works
from gpu_encoding import encoding_works, row_works
from gpu_peers import Documents, peers
from gpu_timing import Limits, gpu_ms, measure_limits, wall_ms
from gpu_work import DIM, QUERY_TOKENS, TINY, Sizes, Work, ragged, unit

from colmodern.index.exact.candidates import CandidateScorer
from colmodern.kernels.cuda import launches
from colmodern.kernels.cuda.assign import DeviceCentroids, assign_centroids
from colmodern.kernels.cuda.exact import score_documents
from colmodern.kernels.cuda.graphs import Replays
from colmodern.kernels.cuda.memory import to_device
from colmodern.kernels.types import TokenGroups
from colmodern.ragged.embeddings import TokenEmbeddings

Row = dict[str, Any]


class _Wrong(Exception):
    """A kernel of ours gave another result than the plain computation."""


def measure_kernels(device: str, *, tune: bool) -> Iterator[Row]:
    """Check every kernel, then measure the GPU's limits and, one after another, all times.

    Each is checked again before it is timed, with the launch that was chosen by then. One that is
    wrong or does not run has a row without times, in which ``failed`` is true.
    """
    is_cuda = device == "cuda"
    works, rows = _all_works(torch.device(device), Sizes() if is_cuda else TINY, is_cuda)
    yield from rows
    n_wrong = sum(not _is_right(work) for work in works)
    print(f"checked {len(works)} kernels and shapes: {n_wrong} wrong", flush=True)
    limits, rows = measure_limits()
    yield from rows
    for work in works:
        if tune and is_cuda:
            _tune(work)
        yield from _measured(work, limits)


def _all_works(device: torch.device, sizes: Sizes, is_cuda: bool) -> tuple[list[Work], list[Row]]:
    """What is to be measured, and rows of what could not be set up."""
    works: list[Work] = []
    rows: list[Row] = []
    for name, group in (
        ("exact", _exact(device, sizes, is_cuda)),
        ("compressed tokens", compressed_works(device, sizes)),
        ("centroid assignment", _assign(device, sizes)),
        ("encoding of vectors", encoding_works(device, sizes)),
        ("rows of an encoder", row_works(device, sizes)),
    ):
        try:
            for work in group:
                works.append(work._replace(truth=work.truth and cache(work.truth)))
        except Exception as error:
            row = {"work": name, "shape": "", "engine": "colmodern", "note": _error_text(error)}
            rows.append({**row, "failed": True})
    return works, rows


def _is_right(work: Work) -> bool:
    try:
        note = _compared(work, "colmodern", work.call)
    except Exception as error:
        print(f"{work.name}, {work.shape}: {_error_text(error)}", flush=True)
        return False
    print(f"{work.name}, {work.shape}: {note}", flush=True)
    return True


def _compared(work: Work, engine: str, call: Callable[[], torch.Tensor]) -> str:
    """How far off a result is; raises _Wrong when it is ours and too far off."""
    call()  # the first compiles; the second is what all later ones are, a replay for one
    output = call()
    if work.truth is None:
        return "ran"
    error = float((output[..., : work.checked].float() - work.truth()).abs().max())
    if _is_ours(engine) and not error < work.tolerance:
        raise _Wrong(f"wrong by {error:.2g}")
    return f"error {error:.1g}"


def _tune(work: Work) -> None:
    for name in work.kernels:
        try:
            launch = launches.tune(name, torch.device("cuda", 0), work.call, gpu_ms)
        except Exception as error:
            print(f"not tuned: {name} ({_error_text(error)})", flush=True)
        else:
            print(f"tuned {name}: {launch}", flush=True)


def _measured(work: Work, limits: Limits) -> Iterator[Row]:
    for engine, call in (("colmodern", work.call), *work.peers):
        row: Row = {"work": work.name, "shape": work.shape, "engine": engine}
        try:
            row["note"] = _compared(work, engine, call)
            row |= {"ms": gpu_ms(call), "wall_ms": wall_ms(call)}
        except Exception as error:
            yield {**row, "note": _error_text(error), "failed": _is_ours(engine)}
            continue
        seconds = row["ms"] / 1000
        if work.n_bytes and limits.bandwidth:
            row |= {"share": work.n_bytes / seconds / limits.bandwidth, "of": "copy"}
        if work.n_flops and limits.flops:
            row |= {"share": work.n_flops / seconds / limits.flops, "of": "bf16 product"}
        if work.tokens:
            row["ns_per_token_query"] = 1e9 * seconds / work.tokens
        yield row


def _is_ours(engine: str) -> bool:
    return engine.startswith("colmodern")


def _error_text(error: Exception) -> str:
    if isinstance(error, _Wrong):
        return str(error)
    return f"not run: {type(error).__name__}: {str(error).splitlines()[:1]}"


def _exact(device: torch.device, sizes: Sizes, is_cuda: bool) -> Iterator[Work]:
    # the interpreter has no bfloat16
    dtypes = [torch.bfloat16 if is_cuda else torch.float16, torch.float32, torch.int8]
    for n in (sizes.many, *sizes.rerank):
        offsets = ragged(n, sizes.mean, device)
        n_tokens = int(offsets[-1])
        for dtype in dtypes if n == sizes.many else dtypes[:1]:
            yield _one_query(n, n_tokens, offsets, dtype, device)
    for n in sizes.rerank:
        yield _candidates(n, sizes.mean, device)
    offsets = ragged(sizes.many, sizes.mean, device)
    documents = Documents(unit((int(offsets[-1]), DIM), device, dtypes[0]), offsets)
    queries = unit((sizes.batch, QUERY_TOKENS, DIM), device, dtypes[0])
    yield Work(
        f"exact, {sizes.batch} queries",
        f"{sizes.batch} x {QUERY_TOKENS}, {sizes.many} x {sizes.mean}, {_name(dtypes[0])}",
        ("maxsim_many",),
        lambda: score_documents(queries, None, documents.values, documents.offsets),
        n_flops=2.0 * sizes.batch * QUERY_TOKENS * DIM * len(documents.values),
        tokens=len(documents.values) * sizes.batch,
        peers=peers(queries, documents),
        truth=lambda: documents.truth(queries),
    )


def _one_query(
    n: int, n_tokens: int, offsets: torch.Tensor, dtype: torch.dtype, device: torch.device
) -> Work:
    is_bytes = dtype == torch.int8
    embeddings = unit((n_tokens, DIM), device, torch.float32)
    scales = embeddings.abs().amax(dim=1) / 127 if is_bytes else None
    values = (
        torch.round(embeddings / scales[:, None]).to(dtype) if is_bytes else embeddings.to(dtype)
    )
    plain = values.float() * scales[:, None] if is_bytes else values
    documents = Documents(plain, offsets)
    query = unit((1, QUERY_TOKENS, DIM), device, torch.float16 if is_bytes else dtype)
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
        f"1 x {QUERY_TOKENS}, {n} documents, {n_tokens} tokens, {_name(dtype)}",
        (kernel,),
        call,
        n_bytes=float(values.nbytes + (0 if scales is None else scales.nbytes)),
        tokens=n_tokens,
        peers=(replay, *others),
        truth=lambda: documents.truth(query),
        tolerance=1e-3 if dtype == torch.float32 else 0.05,
    )


def _candidates(n: int, mean: int, device: torch.device) -> Work:
    """Documents that come from the host with their query, copied and scored as Reranker does."""
    offsets = ragged(n, mean, torch.device("cpu"))
    query = unit((QUERY_TOKENS, DIM), torch.device("cpu"), torch.float32)
    values = unit((int(offsets[-1]), DIM), torch.device("cpu"), torch.float16)
    documents = TokenEmbeddings(values.numpy(), offsets.numpy())
    scorer = CandidateScorer(device)
    return Work(
        "rerank, from the host",
        f"1 x {QUERY_TOKENS}, {n} documents, {len(values)} tokens, float16",
        ("maxsim_few_float32",),
        lambda: torch.from_numpy(scorer.scores(query.numpy(), documents))[None],
        tokens=len(values),
        truth=lambda: Documents(values, offsets).truth(query[None]),
        tolerance=1e-3,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _assign(device: torch.device, sizes: Sizes) -> Iterator[Work]:
    rng = np.random.default_rng(0)
    n = sizes.assigned
    values = rng.normal(size=(n, DIM)).astype(np.float16)
    rows = rng.integers(-127, 128, (sizes.centroids // 4, DIM)).astype(np.int8)
    centroids = torch.from_numpy(rows).to(device)
    scales = torch.full((len(rows),), 0.01, device=device)
    half_norms = (centroids.float() * scales[:, None]).square().sum(dim=1) / 2
    codes = torch.empty(n, dtype=torch.int64, device=device)
    groups = TokenGroups(np.arange(n), np.array([0, n]), np.array([0]), np.array([len(rows)]))
    on_device = DeviceCentroids(centroids, scales, half_norms)

    def call() -> torch.Tensor:
        # as a build does: float16 of a store through pinned memory
        assign_centroids(to_device(values, device), groups, on_device, codes)
        return codes

    def truth() -> torch.Tensor:
        tokens = torch.from_numpy(values[:64]).to(device).float()
        products = tokens @ (centroids.float() * scales[:, None]).T
        best = (products - half_norms).topk(2, dim=1)
        # where the second best is far off, int8 cannot matter
        clear = (best.values[:, 0] - best.values[:, 1]) > 0.3
        output = call()
        expected = torch.where(clear, best.indices[:, 0], output[:64])
        return torch.cat([expected, output[64:]]).float()

    yield Work(
        "centroid assignment, with copies",
        f"{n} tokens, {len(rows)} centroids",
        ("assign_tiles",),
        call,
        n_flops=2.0 * n * len(rows) * DIM,
        truth=truth,
        tolerance=0.5,
    )
