"""The most memory that each stage of an evaluation takes, and the settings with which it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colmodern.config.load import build
from colmodern.config.models import EvalConfig
from colmodern.encoder.encoder import Encoder
from colmodern.environment import peak_memory_mb
from colmodern.errors import ResourceError
from colmodern.pipeline.sample import Sample
from colmodern.pipeline.searchers.base import FLOAT32, Workload
from colmodern.pipeline.searchers.registry import make_searcher, searcher_class
from colmodern.units import parse_bytes

_SMALLEST_SHARD = 4096
_HEADROOM = 0.9  # share of the free memory that a suggestion uses


def memory_by_stage(config: EvalConfig, encoder: Encoder, sample: Sample) -> dict[str, int]:
    """Stage -> the most bytes that the process takes in it; call it when the model is loaded.

    Files that are mapped, as an index's and stored embeddings, are not counted: the system takes
    their pages back where it needs them.
    """
    base, work = resident_bytes(), workload(config, encoder, sample)
    ratio = sample.token_counts.sum() / max(1.0, sample.guesses.sum())
    shard = min(config.storage.shard_tokens * max(ratio, 0.1), sample.tokens.high)
    # one is computed while the one before is written in its stored form
    stored = work.item * (work.item != FLOAT32)
    searcher, stages = make_searcher(config.index, encoder.device), dict[str, float]()
    if searcher.reads_embeddings:
        stages["encode"] = encoder.batch_bytes() + shard * (2 * work.token_bytes + stored)
    stages |= searcher.memory(work)
    return {name: int(base + size) for name, size in stages.items()}


def workload(config: EvalConfig, encoder: Encoder, sample: Sample) -> Workload:
    """The sizes that a search of the config works on."""
    item = 2 if config.storage.dtype == "float16" else FLOAT32
    return Workload(sample, encoder.dim, item, config.search.k)


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
    shard = config.storage.shard_tokens
    while shard > _SMALLEST_SHARD and _stage(config, encoder, sample, "encode") > limit:
        shard = max(_SMALLEST_SHARD, shard // 2)
        changes["storage.shard_tokens"] = str(shard)
        config = _with(config, changes)
    searcher = make_searcher(config.index, encoder.device)
    for key, taken in searcher.ceilings(workload(config, encoder, sample)).items():
        own = parse_bytes(getattr(config.index, key.removeprefix("index.")), name=key)
        if own > free - int(taken) > 1_000_000:
            changes[key] = f"{(free - int(taken)) // 1_000_000}M"
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


def _smallest(config: EvalConfig) -> EvalConfig:
    """With the smallest chunks of work that make sense."""
    ceilings = searcher_class(config.index.kind).smallest
    return _with(config, {"storage.shard_tokens": str(_SMALLEST_SHARD), **ceilings})


def _with(config: EvalConfig, changes: dict[str, Any]) -> EvalConfig:
    from colmodern.config.load import parse_overrides

    values = parse_overrides([f"{k}={v}" for k, v in changes.items()], config.model_dump())
    return build(EvalConfig, values, source=config.name)


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
