"""The most memory that each stage of an evaluation takes, and the settings with which it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colmodern.config.load import build
from colmodern.config.models import EvalConfig, PlaidIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ResourceError
from colmodern.index.plaid.build_settings import settle
from colmodern.pipeline.environment import peak_memory_mb
from colmodern.pipeline.plan.sample import Sample
from colmodern.units import parse_bytes

_FLOAT32 = 4
_RESULT_BYTES = 120  # bytes of a (doc_id, score) in a list
_LIBRARIES = 120_000_000  # numba and faiss, which an index loads
_SMALLEST_SHARD = 4096
_HEADROOM = 0.9  # share of the free memory that a suggestion uses


def memory_by_stage(config: EvalConfig, encoder: Encoder, sample: Sample) -> dict[str, int]:
    """Stage -> the most bytes that the process takes in it; call it when the model is loaded.

    Files that are mapped, as an index's and stored embeddings, are not counted: the system takes
    their pages back where it needs them.
    """
    base, dim = resident_bytes(), encoder.dim
    row, item = dim * _FLOAT32, 2 if config.storage.dtype == "float16" else _FLOAT32
    ratio = sample.token_counts.sum() / max(1.0, sample.guesses.sum())
    shard = min(config.storage.shard_tokens * max(ratio, 0.1), sample.tokens.high)
    # one is computed while the one before is written in its stored form
    encoding = encoder.batch_bytes() + shard * (2 * row + item * (item != _FLOAT32))
    results = sample.n_queries * (config.search.k + 1) * _RESULT_BYTES
    queries = sample.n_query_tokens * row
    stages = {"encode": base + encoding}
    if isinstance(config.index, PlaidIndexConfig):
        stages["build index"] = base + _LIBRARIES + _build_bytes(config.index, sample, dim)
        stages["search"] = base + _LIBRARIES + results + queries
    if getattr(config.index, "compare_with_exact", True):
        budget = parse_bytes(config.index.exact_max_memory, name="index.exact_max_memory")
        needed = sample.tokens.high * (row + item + 16 + 12 * min(1024, sample.n_query_tokens)) * 2
        name = "exact search" if isinstance(config.index, PlaidIndexConfig) else "search"
        stages[name] = int(base + min(budget, needed) + 2 * results + queries)
    return {name: int(size) for name, size in stages.items()}


def check_memory(config: EvalConfig, encoder: Encoder, sample: Sample) -> None:
    """Refuse an evaluation that does not fit ``max_memory``.

    Raises ResourceError that says which stages take too much, and the settings with which it fits,
    or how much it takes at the least.
    """
    if config.max_memory is None:
        return
    limit = parse_bytes(config.max_memory, name="max_memory")
    needed = memory_by_stage(config, encoder, sample)
    over = {name: size for name, size in needed.items() if size > limit}
    if not over:
        return
    excess = ", ".join(f"{name} takes about {_shown(size)}" for name, size in over.items())
    settings = find_fitting(config, encoder, sample, limit)
    if settings:
        cure = f"it fits with {' '.join(f'{key}={value}' for key, value in settings.items())}"
    else:
        least = max(memory_by_stage(_smallest(config), encoder, sample).values())
        cure = (
            f"no setting of storage and index makes it fit; give at least {_shown(least / _HEADROOM)}, "
            "or lower encoder.max_memory or encoder.document_length"
        )
    raise ResourceError(f"max_memory={config.max_memory} is too little: {excess}; {cure}")


def find_fitting(
    config: EvalConfig, encoder: Encoder, sample: Sample, limit: int
) -> dict[str, str]:
    """Settings with which every stage stays below ``limit`` bytes; empty where there are none."""
    free = int((limit - resident_bytes()) * _HEADROOM)
    changes: dict[str, str] = {}
    if free <= 0:
        return changes
    results = sample.n_queries * (config.search.k + 1) * _RESULT_BYTES
    queries = int(sample.n_query_tokens * encoder.dim * _FLOAT32)
    shard = config.storage.shard_tokens
    while shard > _SMALLEST_SHARD and _stage(config, encoder, sample, "encode") > limit:
        shard = max(_SMALLEST_SHARD, shard // 2)
        changes["storage.shard_tokens"] = str(shard)
        config = _with(config, changes)
    for key, is_there, taken in (
        ("index.build_max_memory", isinstance(config.index, PlaidIndexConfig), _LIBRARIES),
        ("index.exact_max_memory", True, 2 * results + queries),
    ):
        name = key.removeprefix("index.")
        own = parse_bytes(getattr(config.index, name), name=key) if is_there else 0
        if own > free - taken > 1_000_000:
            changes[key] = f"{(free - taken) // 1_000_000}M"
    try:
        stages = memory_by_stage(_with(config, changes), encoder, sample)
    except ResourceError:  # too little for the smallest build
        return {}
    return changes if max(stages.values()) <= limit else {}


def resident_bytes() -> int:
    """What this process takes now; its peak where the system does not say."""
    status = Path("/proc/self/statm")
    if status.is_file():
        import resource

        _, resident, shared, *_ = map(int, status.read_text().split())
        return (resident - shared) * resource.getpagesize()
    return (peak_memory_mb() or 0) * 1_000_000


def _stage(config: EvalConfig, encoder: Encoder, sample: Sample, name: str) -> int:
    return memory_by_stage(config, encoder, sample)[name]


def _build_bytes(config: PlaidIndexConfig, sample: Sample, dim: int) -> int:
    """The largest step of a build: its sample, its fitting, or a piece that is compressed."""
    tokens = max(1, int(sample.tokens.high))
    settings = settle(
        tokens,
        dim,
        nbits=config.nbits,
        codec=config.codec,
        n_centroids=config.n_centroids,
        seed=config.seed,
        max_ram=parse_bytes(config.build_max_memory, name="index.build_max_memory"),
    )
    row = dim * _FLOAT32
    return max(
        min(tokens, settings.n_sampled) * (2 * row + 64),
        min(tokens, settings.n_fitted) * (7 * row + 64),
        min(tokens, settings.piece_tokens) * 4 * row,
    )


def _smallest(config: EvalConfig) -> EvalConfig:
    """With the smallest pieces of work that make sense."""
    changes = {"storage.shard_tokens": str(_SMALLEST_SHARD), "index.exact_max_memory": "64M"}
    if isinstance(config.index, PlaidIndexConfig):
        changes["index.build_max_memory"] = "256M"
    return _with(config, changes)


def _with(config: EvalConfig, changes: dict[str, Any]) -> EvalConfig:
    from colmodern.config.load import parse_overrides

    values = parse_overrides([f"{k}={v}" for k, v in changes.items()], config.model_dump())
    return build(EvalConfig, values, source=config.name)


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
