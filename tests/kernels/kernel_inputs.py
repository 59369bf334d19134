"""Inputs of every search kernel by name, and a call that returns what the kernel wrote.

Arrays of records are inputs by the names of their fields. A kernel that gains an argument or reads
another field needs one more name in the function below that makes its inputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from kernels.records import argument, copied

from colmodern.kernels.cpu import (
    clusters,
    encoding,
    gather,
    probe,
    prune,
    refine,
    residual_query,
    score,
)
from colmodern.kernels.cpu.ir.vectors import lanes_of, masks_of
from colmodern.kernels.cpu.refine import empty_near
from colmodern.kernels.reference import encoding as reference_encoding
from colmodern.kernels.reference import probe as reference_probe
from colmodern.kernels.reference import score as reference_score
from colmodern.kernels.reference import search
from colmodern.kernels.types import (
    CentroidRows,
    ResidualQuery,
    SampledDocs,
    StateForm,
    TableQuery,
    WeightQuery,
)

# kernel -> the arguments that it writes
WRITTEN = {
    "choose_centroids": (),
    "score_centroids": ("scores", "maxima"),
    "nth_largest": ("out",),
    "find_probes": ("probes",),
    "score_unknown": ("query",),
    "limit_probes": ("probes",),
    "impute_missing": ("missing",),
    "drop_probes": ("probes",),
    "state_form": (),
    "gather": ("state",),
    "collect": ("docs", "sums"),
    "keep_best": (),
    "score_doc_vectors": ("out",),
    "estimate_doc_vectors": ("out",),
    "score_by_centroids": ("out",),
    "score_compressed": ("near", "out"),
    "fill_tables": ("tables",),
    "fill_doc_tables": ("products", "table"),
    "choose_doc_parts": (),
    "score_decoded": ("out",),
    "add_doc_vectors": ("out",),
    "score_stored": ("out",),
    "assign_centroids": ("codes",),
    "encode_residuals": ("gains", "residuals"),
    "encode_by_weights": ("gains", "residuals"),
    "mean_by_document": ("means",),
    "sum_by_entry": ("sums", "counts"),
    "count_postings": ("ends",),
    "fill_postings": ("docs",),
}
# arguments that builds and searches read from mapped files; numba compiles for read-only arrays anew
_MAPPED = {"doc_offsets", "codes", "codebook", "list_docs", "list_offsets"}

CPU_MODULES = (clusters, probe, gather, prune, refine, score, residual_query, encoding)
Inputs = dict[str, Any]
DIMS = [8, 48, 64, 96, 128, 384]
LENGTHS = [300, 0, 1, 2, 33, 5, 0]


def of(name: str, *modules: ModuleType) -> Callable[..., Any]:
    """The kernel of this name in the first module that makes it itself."""
    for module in modules:
        function = getattr(module, name, None)
        if function and getattr(function, "__module__", "") == module.__name__:
            return function
    raise AssertionError(f"no kernel {name} in {[module.__name__ for module in modules]}")


def fast(name: str) -> Callable[..., Any]:
    return of(name, *CPU_MODULES)


def slow(name: str) -> Callable[..., Any]:
    return of(name, search, reference_probe, reference_score, reference_encoding)


def parameters(kernel: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(getattr(kernel, "py_func", kernel)).parameters)


def run(kernel: Callable[..., Any], inputs: Inputs) -> dict[str, np.ndarray]:
    """Call with copies of what is written; returns those and, as "returned", the result.

    A record that was written is returned, and so are its fields by their names.
    """
    arguments = {name: argument(name, inputs) for name in parameters(kernel)}
    written = {name: copied(arguments[name]) for name in WRITTEN[kernel.__name__]}
    for name in arguments.keys() & _MAPPED - written.keys():
        arguments[name].flags.writeable = False
    returned = kernel(*{**arguments, **written}.values())
    if kernel.__name__ == "choose_centroids":
        written["probed"], written["known"], written["floors"] = returned
        returned = None
    if kernel.__name__ == "collect":  # what is behind the end is scratch
        written = {name: array[:returned] for name, array in written.items()}
    for record in [value for value in written.values() if isinstance(value, tuple)]:
        written |= record._asdict()
    if returned is not None:
        written["returned"] = np.asarray(returned)
    return written


def assert_equal(name: str, inputs: Inputs, *, atol: float | None = None) -> None:
    """The fast kernel writes and returns what the reference does."""
    expected = run(slow(name), inputs)
    for key, value in run(fast(name), inputs).items():
        if isinstance(value, tuple):  # its fields are looked at
            continue
        if atol is None:
            np.testing.assert_array_equal(value, expected[key], f"{name}: {key}")
        else:
            np.testing.assert_allclose(value, expected[key], 0, atol, err_msg=f"{name}: {key}")


def centroid_inputs(n_centroids: int, dim: int, seed: int, *, kind: str = "random") -> Inputs:
    """score_centroids; kind: random, ends (of int8, beyond int16) or equal."""
    rng = np.random.default_rng(seed)
    n_lanes, mask = (16, np.uint16(0xFFFF)) if n_centroids % 2 else (32, np.uint32(0xFFFFFFFF))
    centroids = rng.integers(-127, 128, (n_centroids, dim)).astype(np.int8)
    query_bytes = rng.integers(1, 256, (dim // 4, n_lanes, 4)).astype(np.uint8)
    if kind == "ends":
        centroids = rng.choice(np.array([-128, 127], np.int8), (n_centroids, 1)).repeat(dim, axis=1)
        query_bytes = rng.choice(np.array([0, 255], np.uint8), (1, n_lanes, 1)).repeat(
            dim // 4, axis=0
        )
        query_bytes = query_bytes.repeat(4, axis=2)
    elif kind == "equal":
        centroids[:] = centroids[0]
    lane_scales = rng.uniform(1e-3, 1.0 if kind == "ends" else 0.1, n_lanes).astype(np.float32)
    return {
        "centroids": centroid_rows(
            centroids, rng.uniform(0.5, 1.0, n_centroids).astype(np.float32)
        ),
        "numbers": rng.permutation(n_centroids).astype(np.int32),
        "query_bytes": query_bytes,
        "lane_scales": lane_scales,
        "mask": mask,
        "start": 0,
        "stop": n_centroids,
        "scores": np.zeros((n_centroids, n_lanes), np.int16),
        "maxima": np.zeros((-(-n_centroids // 64), n_lanes), np.int16),
    }


def centroid_rows(values: np.ndarray, scales: np.ndarray) -> CentroidRows:
    """Centroids as queries are scored with them."""
    values.flags.writeable = scales.flags.writeable = False  # as those of a mapped codec
    return CentroidRows(values, scales, (128 * values.sum(axis=1, dtype=np.int32)).astype(np.int32))


def scores_of(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    """int16 scores; kind: random, ends, ties, equal or negative."""
    ranges = {"random": (-26_000, 26_000), "ties": (-2, 3), "negative": (-32_768, -20_000)}
    if kind == "ends":
        return rng.choice(np.array([-32_768, 32_767], np.int16), shape)
    return rng.integers(*ranges.get(kind, (7, 8)), shape).astype(np.int16)


KINDS = ["random", "ends", "ties", "equal", "negative"]


def probe_inputs(
    n_centroids: int, nprobe: int, n_lanes: int, seed: int, *, kind: str = "random"
) -> Inputs:
    """find_probes."""
    n_all = lanes_of(masks_of(n_lanes))
    scores = scores_of((n_centroids, n_all), kind, np.random.default_rng(seed))
    probed = np.random.default_rng(seed).permutation(n_centroids).astype(np.int32)
    chunks = [scores[probed[at : at + 64]].max(axis=0) for at in range(0, n_centroids, 64)]
    return {
        "scores": scores,
        "maxima": np.array(chunks),
        "probed": probed,
        "mask": masks_of(n_lanes)[0],
        "probes": np.zeros((n_lanes, nprobe), np.int32),
    }


def sample_inputs(n_centroids: int, rng: np.random.Generator) -> Inputs:
    """Sampled documents, some of them without a token."""
    lengths = np.array([0, 3, 1, 0, 40][: int(rng.integers(0, 6))], np.int64)
    codes = rng.integers(0, n_centroids, lengths.sum()).astype(np.uint32)
    return {"sample": SampledDocs(codes, np.concatenate([[0], np.cumsum(lengths)]))}


def gather_inputs(
    n_query_tokens: int, n_docs: int, n_centroids: int, nprobe: int, seed: int, *, kind: str
) -> Inputs:
    """impute_missing and gather, with an eighth of the documents blocked."""
    rng = np.random.default_rng(seed)
    masks = masks_of(n_query_tokens)
    scores = scores_of((len(masks), n_centroids, lanes_of(masks)), kind, rng)
    by_token = scores.transpose(0, 2, 1).reshape(-1, n_centroids)[:n_query_tokens]
    probes = np.argsort(-by_token.astype(np.int32), axis=1, kind="stable")[:, :nprobe]
    lists = [
        np.sort(rng.choice(n_docs, int(rng.integers(0, min(n_docs, 40) + 1)), replace=False))
        for _ in range(n_centroids)
    ]
    inputs = {
        "probes": np.ascontiguousarray(probes.astype(np.int32)),
        "scores": scores,
        "centroid_scores": scores,
        "floors": np.full((len(masks), lanes_of(masks)), -32_768, np.int16),
        "lanes": masks,
        **sample_inputs(n_centroids, rng),
        "missing": rng.integers(-32_768, by_token.min(axis=1).astype(np.int32) + 1).astype(
            np.int32
        ),
    }
    form = StateForm(*run(slow("state_form"), inputs)["returned"].tolist())
    return {
        **inputs,
        "list_offsets": np.cumsum([0, *map(len, lists)]).astype(np.uint32),
        "list_docs": np.concatenate(lists).astype(np.uint16),
        "form": form,
        "state": np.where(rng.random(n_docs) < 0.125, (1 << form.turn_bits) - 1, 0).astype(
            np.int32
        ),
    }


def collect_inputs(gathered: Inputs) -> Inputs:
    """collect, after the reference's gather."""
    state = run(slow("gather"), gathered)["state"]
    return {
        "form": gathered["form"],
        "state": state,
        "docs": np.zeros(len(state), np.int64),
        "sums": np.zeros(len(state), np.int32),
    }


def token_inputs(
    n_query_tokens: int,
    dim: int,
    nbits: int,
    n_centroids: int,
    seed: int,
    *,
    kind: str = "random",
    dtype: str = "uint16",
    slack: int | None = None,
    is_shared: bool = False,
    margin: int = 500,
    is_half: bool = True,
) -> Inputs:
    """score_by_centroids, score_compressed, score_decoded and score_stored; slack: of all gains."""
    rng = np.random.default_rng(seed)
    lanes = masks_of(n_query_tokens)
    n_lanes, n_blocks = lanes_of(lanes), len(lanes)
    n_bytes, n_tokens = dim * nbits // 8, sum(LENGTHS)
    entry = min(127, 32_767 // n_bytes)
    tables = rng.integers(-entry, entry + 1, (n_blocks, n_bytes, 256, n_lanes))
    if kind == "ends":
        tables = np.where(tables < 0, -entry, entry)
    factors = np.sort(rng.integers(0, 32_768, 256)).astype(np.int16)
    shift = np.int16(np.log2(32_767 / (entry * n_bytes)))
    residual_query: ResidualQuery = TableQuery(tables.astype(np.int8), factors, shift)
    if is_shared:
        residual_query = _weights(n_blocks, n_lanes, dim, rng, kind)
    queries = np.zeros((n_blocks * n_lanes, -(-dim // 32) * 32), np.float32)
    queries[:n_query_tokens, :dim] = rng.normal(size=(n_query_tokens, dim)) / np.sqrt(dim)
    values = rng.normal(size=(n_tokens, dim)).astype(np.float32) / np.float32(np.sqrt(dim))
    values = values.astype(np.float16 if is_half else np.float32)
    docs = np.concatenate([rng.permutation(len(LENGTHS)), [0, 3, 3, 1]])
    offsets = np.cumsum([0, *LENGTHS])
    slacks = np.sort(rng.integers(0, 8_000, 256)) if slack is None else np.full(256, slack)
    inputs = {
        "docs": docs,
        "doc_offsets": offsets,
        "codes": rng.integers(0, n_centroids, n_tokens).astype(dtype),
        "gains": rng.integers(0, 256, n_tokens).astype(np.uint8),
        "residuals": rng.integers(0, 256, (n_tokens, n_bytes)).astype(np.uint8),
        "centroid_scores": scores_of((n_blocks, n_centroids, n_lanes), kind, rng),
        "floors": np.full((n_blocks, n_lanes), -32_768, np.int16),
        "lanes": lanes,
        "residual_query": residual_query,
        "refine_slack": slacks.astype(np.int16),
        "score_slack": np.minimum(slacks * 2 + 100, 32_767).astype(np.int16),
        "empty": -1234,
        "margin": margin,
        "padded": queries,
        "centroids": rng.integers(-127, 128, (n_centroids, dim)).astype(np.int8),
        "centroid_scales": rng.uniform(0.5, 1, n_centroids).astype(np.float32)
        / np.float32(127 * np.sqrt(dim)),
        "codebook": rng.normal(size=(n_bytes, 256, dim // n_bytes)).astype(np.float32)
        / np.float32(np.sqrt(dim)),
        "gain_step": 0.002,
        "addresses": (values.ctypes.data + offsets[docs] * values.strides[0]).astype(np.uint64),
        "values": values,  # keeps the addresses valid
        "dim": dim,
        "is_half": is_half,
    }
    return with_docs(inputs, docs)


def with_docs(inputs: Inputs, docs: np.ndarray) -> Inputs:
    """token_inputs for these documents."""
    lengths, lanes = np.diff(inputs["doc_offsets"])[docs], inputs["lanes"]
    room = lengths.sum() * len(lanes)
    near = empty_near(lengths, lanes, inputs["centroid_scores"].shape[2])._replace(
        tokens=np.zeros(room, np.int64), lanes=np.zeros(room, lanes.dtype)
    )
    return {**inputs, "docs": docs, "near": near, "out": np.full(len(docs), 99, np.int32)}


def _weights(
    n_blocks: int, n_lanes: int, dim: int, rng: np.random.Generator, kind: str
) -> WeightQuery:
    """kind: ends (of int8), else random."""
    dims = rng.integers(-127, 128, (n_blocks, dim // 4, n_lanes, 4))
    if kind == "ends":
        dims = np.where(dims < 0, -127, 127)
    return WeightQuery(
        dims.astype(np.int8),
        (-128 * dims.sum(axis=(1, 3))).astype(np.int32),
        rng.permutation(256)[:16].astype(np.uint8),
        np.sort(rng.uniform(0, 0.1, 256)).astype(np.float32),
    )


def float_inputs(*shape: int, **options: Any) -> Inputs:
    """token_inputs for the kernels whose scores are float32."""
    return with_near(token_inputs(*shape, **options))


def with_near(inputs: Inputs) -> Inputs:
    """With what score_compressed finds near the best, and room for scores in float32."""
    inputs = with_docs(inputs, inputs["docs"])
    near = run(slow("score_compressed"), inputs)["near"]
    return {**inputs, "near": near, "out": np.full(len(inputs["docs"]), 99, np.float32)}


def table_inputs(
    dim: int, nbits: int, seed: int, *, is_filled: bool, n_query_tokens: int = 32
) -> Inputs:
    """fill_tables; is_filled: with the scale that the magnitudes ask for, else with scale 0."""
    rng = np.random.default_rng(seed)
    n_bytes, masks = dim * nbits // 8, masks_of(n_query_tokens)
    inputs: Inputs = {
        "codebook": rng.normal(size=(n_bytes, 256, dim // n_bytes)).astype(np.float32),
        "queries": rng.normal(size=(dim, lanes_of(masks))).astype(np.float32),
        "mask": masks[0],
        "scale": np.float32(0),
        "tables": np.zeros((n_bytes, 256, lanes_of(masks)), np.int8),
    }
    if is_filled:
        largest = run(slow("fill_tables"), inputs)["returned"].max()
        inputs["scale"] = np.float32(127 / largest)
    return inputs


def doc_vector_inputs(n_docs: int, n_bytes: int, seed: int, *, kind: str = "random") -> Inputs:
    """score_doc_vectors and estimate_doc_vectors, of about half of the documents."""
    rng = np.random.default_rng(seed)
    table = rng.integers(-32_767, 32_768, (n_bytes, 256)).astype(np.int16)
    if kind == "ends":
        table = np.where(table < 0, -32_768, 32_767).astype(np.int16)
    docs = np.flatnonzero(rng.random(n_docs) < 0.5)
    vectors = rng.integers(0, 256, (n_docs, n_bytes)).astype(np.uint8)
    return {
        "docs": docs,
        "columns": np.ascontiguousarray(vectors.T),
        "doc_gains": rng.integers(0, 256, n_docs).astype(np.uint8),
        "doc_vectors": vectors,
        "doc_table": table,
        "doc_factors": (np.arange(256) * rng.uniform(1e-5, 1e-3)).astype(np.float32),
        "doc_parts": rng.permutation(n_bytes)[: -(-n_bytes // 4)],
        "out": np.full(len(docs), 99, np.int32),
    }
