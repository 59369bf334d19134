"""Counts and sizes of all shards together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colmodern.errors import InputError

_COUNTS = ("documents", "deleted", "tokens", "segments")


def describe_shards(
    infos: Mapping[str, Mapping[str, Any]], path: Path | None, *, dim: int, fingerprint: str | None
) -> dict[str, object]:
    """The ``info`` of a sharded index, from those of its shards."""
    counts = {
        name: sum(info.get(name) or 0 for info in infos.values())
        for name in _COUNTS
        if any(name in info for info in infos.values())
    }
    kinds = dict.fromkeys(kind for info in infos.values() for kind in info["bytes"])
    sizes = {kind: sum(info["bytes"].get(kind, 0) for info in infos.values()) for kind in kinds}
    sizes["total"] = sizes.pop("total", 0)
    n_tokens = max(1, counts.get("tokens", 0))
    every = [dict(info["settings"]) for info in infos.values()]
    settings = {
        name: value
        for name, value in every[0].items()
        if all(name in other and other[name] == value for other in every)
    }
    centroids = {info.get("centroids") for info in infos.values()}
    if len(centroids) == 1 and None not in centroids:
        counts["centroids"] = centroids.pop()
    codecs = {info.get("codec_sha256") for info in infos.values()}
    return {
        "path": None if path is None else str(path),
        "shards": len(infos),
        **counts,
        "dim": dim,
        "fingerprint": fingerprint,
        "settings": settings,
        "codec_sha256": codecs.pop() if len(codecs) == 1 else None,
        "bytes": sizes,
        "bytes_per_token": {kind: round(size / n_tokens, 2) for kind, size in sizes.items()},
        "documents_of_shards": {name: info["documents"] for name, info in infos.items()},
    }


def expect_alike(answers: Mapping[str, tuple[int, str | None]]) -> tuple[int, str | None]:
    """The dim and fingerprint that shards have in common; answers: those of each shard.

    Raises:
        InputError: They are of different dims or encoders.
    """
    first, (dim, _) = next(iter(answers.items()))
    known: dict[str, str] = {}  # fingerprint -> the first shard that has it
    for name, (other, fingerprint) in answers.items():
        if other != dim:
            raise InputError(
                f"shard {first} has dim={dim} and shard {name} has dim={other}; join indexes of one "
                "encoder"
            )
        if fingerprint is not None:
            known.setdefault(fingerprint, name)
    if len(known) > 1:
        raise InputError(
            f"shards {' and '.join(list(known.values())[:2])} were built with different encoders, or other "
            "settings of one, so that their scores do not compare; encode all with the same"
        )
    return dim, next(iter(known), None)
