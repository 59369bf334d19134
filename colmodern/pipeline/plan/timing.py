"""How long the stages of an evaluation will take, from doing a little of each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colmodern.config.models import EvalConfig, PlaidIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.index.exact import ExactIndex
from colmodern.pipeline.machine_faults import COMPILED_SEARCH, check_address_space
from colmodern.pipeline.plan.sample import Sample, Total
from colmodern.pipeline.search_device import exact_devices, with_device
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of

_ENCODED_TOKENS = 12_000  # tokens that the model reads in a timed try
_TRIED_QUERIES = 16
_BUILT_TOKENS = (
    40_000,
    120_000,
)  # tokens of two small builds: beyond the fixed cost, and enough for the slope


@dataclass(frozen=True)
class StageCosts:
    """What doing a little cost.

    encode: seconds for each token that the model reads; exact: for each pair of a query token and
    a document token; build: seconds and tokens of two builds, None where there is no index
    search: seconds of a query on the larger of them, and its tokens
    """

    encode: float
    exact: float
    build: tuple[tuple[float, int], tuple[float, int]] | None
    search: tuple[float, int] | None


def try_stages(
    config: EvalConfig, encoder: Encoder, sample: Sample, queries: list[str], progress: Progress
) -> StageCosts:
    """Encode some of the sample, search it exactly, and build and search small indexes of it."""
    n_texts = int(np.searchsorted(np.cumsum(sample.inputs), _ENCODED_TOKENS)) + 1
    texts = list(sample.texts[:n_texts])
    encoder.encode_documents(texts[:2])  # what the first call loads and compiles
    progress.note(f"encoding {len(texts)} documents, for the time that it takes")
    start = time.perf_counter()
    documents = encoder.encode_documents(texts)
    encode = (time.perf_counter() - start) / max(1.0, float(sample.inputs[:n_texts].sum()))
    embeddings = encoder.encode_queries(queries[:_TRIED_QUERIES])
    if not documents.n_tokens or not embeddings.n_tokens:
        return StageCosts(encode, 0.0, None, None)
    index = ExactIndex(
        documents,
        device=exact_devices(config.index, encoder.device),
        precision=getattr(config.index, "precision", "float32"),
    )
    index.search_batch(embeddings, 1)
    start = time.perf_counter()
    index.search_batch(embeddings, 1)
    exact = (time.perf_counter() - start) / (embeddings.n_tokens * documents.n_tokens)
    if not isinstance(config.index, PlaidIndexConfig):
        return StageCosts(encode, exact, None, None)
    check_address_space(COMPILED_SEARCH, "a compressed index")
    progress.note("building two small indexes, for the time that they take")
    settled = with_device(config.index, encoder.device)
    built = [_build(settled, documents, n, embeddings, config.search.k) for n in _BUILT_TOKENS]
    (small, _), (large, searched) = built
    return StageCosts(encode, exact, (small, large), (searched, large[1]))


def seconds_by_stage(config: EvalConfig, sample: Sample, tries: StageCosts) -> dict[str, Total]:
    """Stage -> seconds; intervals are those of the number of tokens alone."""
    tokens, read = sample.tokens, sample.n_query_inputs
    stages = {
        "encode": Total(*((n + read) * tries.encode for n in sample.input_tokens)),
    }
    if tries.build is not None and tries.search is not None:
        (first, fewer), (second, more) = tries.build
        slope = max(0.0, second - first) / (more - fewer)
        stages["build index"] = Total(*(max(first, second + slope * (n - more)) for n in tokens))
        seconds, n_searched = tries.search
        # candidates grow slower than the corpus: as a power of its documents
        growth = max(1.0, tokens.value / n_searched) ** 0.4
        stages["search"] = Total(*(seconds * sample.n_queries * growth,) * 3)
    if getattr(config.index, "compare_with_exact", True):
        name = "search" if tries.build is None else "exact search"
        stages[name] = Total(*(n * sample.n_query_tokens * tries.exact for n in tokens))
    return stages


def _build(
    config: PlaidIndexConfig,
    documents: TokenEmbeddings,
    n_tokens: int,
    queries: TokenEmbeddings,
    k: int,
) -> tuple[tuple[float, int], float]:
    """Seconds and tokens of building an index of so many tokens; seconds of a query on it."""
    from colmodern.index.plaid.index import PlaidIndex  # loads numba
    from colmodern.pipeline.index_stage import compile_searches

    many = _repeated(documents, n_tokens)
    with tempfile.TemporaryDirectory(prefix="colmodern-plan-") as folder:
        built = _timed(
            lambda: PlaidIndex.build(
                many,
                Path(folder) / "index",
                nbits=config.nbits,
                codec=config.codec,
                seed=config.seed,
                max_ram=config.build_max_memory,
                device=config.device,
            )
        )
        index = PlaidIndex.load(Path(folder) / "index", device=config.device)
        compile_searches(index, queries, k)
        searched = _timed(lambda: index.search_batch(queries, k)) / len(queries)
    return (built, many.n_tokens), searched


def _repeated(documents: TokenEmbeddings, n_tokens: int) -> TokenEmbeddings:
    """The documents again and again until there are so many tokens, a little different each time."""
    times = -(-n_tokens // documents.n_tokens)
    values = np.tile(documents.values, (times, 1)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(values.shape, np.float32)
    values += noise * np.float32(0.3 / np.sqrt(documents.dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    ids = None if documents.token_ids is None else np.tile(documents.token_ids, times)
    return TokenEmbeddings(values, offsets_of(np.tile(documents.lengths, times)), ids)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
