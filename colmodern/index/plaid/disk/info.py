"""Counts and sizes of an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from colmodern.index.fields.conditions import words_of
from colmodern.index.plaid.disk.manifest import NAME, codec_digest
from colmodern.index.plaid.disk.storage import CODEC, IndexSnapshot

_KIND_OF = {  # files of a segment that are not ids
    "codes.npy": "codes",
    "gains.npy": "gains",
    "residuals.npy": "residuals",
    "list_docs.npy": "inverted lists",
    "list_offsets.npy": "inverted lists",
    "block_docs.npy": "inverted lists",
    "block_starts.npy": "inverted lists",
    "spans.npy": "spans",
    "span_offsets.npy": "spans",
    "span_rows.npy": "spans",
    "fields.npy": "fields",
    "doc_gains.npy": "documents",
    "doc_vectors.npy": "documents",
    "doc_offsets.npy": "documents",
}


def describe(snapshot: IndexSnapshot, n_open: int) -> dict[str, Any]:
    """Counts, settings, and bytes on disk of each kind of file and per token.

    Files that a later writer has removed count as nothing.
    """
    manifest = snapshot.manifest
    kinds = ("codec", *dict.fromkeys(_KIND_OF.values()), "ids", "deletions", "manifest")
    sizes = dict.fromkeys(kinds, 0)
    if not manifest.has_spans:
        del sizes["spans"]
    if not manifest.fields:
        del sizes["fields"]
    for kind, path in _files(snapshot):
        with suppress(OSError):
            sizes[kind] += path.stat().st_size
    sizes["total"] = sum(sizes.values())
    n_tokens = max(1, manifest.n_tokens)
    fields = {name: words_of(kinds) for name, kinds in manifest.fields.items()}
    return {
        "path": str(snapshot.folder),
        "documents": n_open,
        "deleted": len(snapshot.deleted),
        "tokens": manifest.n_tokens,
        "dim": manifest.dim,
        "centroids": manifest.n_centroids,
        "segments": len(manifest.segments),
        "fingerprint": manifest.fingerprint,
        "settings": manifest.settings,
        "codec_sha256": codec_digest(manifest),
        "fields": fields,
        "bytes": sizes,
        "bytes_per_token": {kind: round(size / n_tokens, 2) for kind, size in sizes.items()},
    }


def _files(snapshot: IndexSnapshot) -> Iterator[tuple[str, Path]]:
    """Every file that the manifest names, and the manifest."""
    folder, manifest = snapshot.folder, snapshot.manifest
    yield "manifest", folder / NAME
    for name in manifest.codec.files:
        yield "codec", folder / CODEC / name
    for record in manifest.deletions:
        yield "deletions", folder / record.name
    for segment in manifest.segments:
        for name in segment.files:
            yield _KIND_OF.get(name, "ids"), folder / segment.name / name
