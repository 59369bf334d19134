"""What an index is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colmodern.index.plaid.manifest import NAME
from colmodern.index.plaid.storage import CODEC, Opened

_PART_OF = {  # the others are ids
    "codes.npy": "codes",
    "gains.npy": "gains",
    "residuals.npy": "residuals",
    "list_docs.npy": "inverted lists",
    "list_offsets.npy": "inverted lists",
    "block_docs.npy": "inverted lists",
    "block_starts.npy": "inverted lists",
    "doc_gains.npy": "documents",
    "doc_vectors.npy": "documents",
    "doc_offsets.npy": "documents",
}


def describe(opened: Opened, n_open: int) -> dict[str, Any]:
    """Counts, settings, and bytes on disk of each part and per token.

    Files that a later writer has removed count as nothing.
    """
    manifest = opened.manifest
    parts = ("codec", *dict.fromkeys(_PART_OF.values()), "ids", "deletions", "manifest")
    sizes = dict.fromkeys(parts, 0)
    for part, path in _files(opened):
        sizes[part] += path.stat().st_size if path.is_file() else 0
    sizes["total"] = sum(sizes.values())
    n_tokens = max(1, manifest.n_tokens)
    return {
        "path": str(opened.folder),
        "documents": n_open,
        "deleted": len(opened.deleted),
        "tokens": manifest.n_tokens,
        "dim": manifest.dim,
        "centroids": manifest.n_centroids,
        "segments": len(manifest.segments),
        "fingerprint": manifest.fingerprint,
        "settings": manifest.settings,
        "bytes": sizes,
        "bytes_per_token": {part: round(size / n_tokens, 2) for part, size in sizes.items()},
    }


def _files(opened: Opened) -> Iterator[tuple[str, Path]]:
    """Every file that the manifest names, and the manifest."""
    folder, manifest = opened.folder, opened.manifest
    yield "manifest", folder / NAME
    for name in manifest.codec.files:
        yield "codec", folder / CODEC / name
    for record in manifest.deletions:
        yield "deletions", folder / record.name
    for segment in manifest.segments:
        for name in segment.files:
            yield _PART_OF.get(name, "ids"), folder / segment.name / name
