"""What a collection tells of itself, and the comparison of all of it with its checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colmodern.collection.state import State
from colmodern.index.plaid.index import PlaidIndex
from colmodern.progress import Progress


def describe(folder: Path, state: State) -> dict[str, Any]:
    """Counts, model, settings and bytes on disk of a collection."""
    manifest = state.manifest
    names = [record.name for record in manifest.texts]
    texts = _n_bytes(folder, names)
    index = 0 if manifest.index is None else _n_bytes(folder, [manifest.index.name])
    encoder = manifest.encoder.model_dump()
    return {
        "collection": str(folder),
        "documents": state.n_docs,
        "model": encoder["model"],
        "revision": encoder["revision"],
        "encoder": {name: encoder[name] for name in ("dim", "dtype", "attention", "settings")},
        "spans": manifest.spans,
        "fields": manifest.fields,
        "passages": manifest.passages,
        "title_separator": manifest.title_separator,
        "index_settings": manifest.index_settings,
        "index": None if state.index is None else state.index.info(),
        "bytes": {"texts": texts, "index": index, "total": texts + index},
    }


def verify(folder: Path, state: State, progress: Progress) -> None:
    """Compare every file with its checksum, and find the text of every document.

    Raises:
        StorageError: A file differs, or a text is missing.
    """
    if state.manifest.index is not None:
        PlaidIndex.check(folder / state.manifest.index.name, progress=progress)
    progress.start("check texts", state.n_docs, unit="documents")
    for segment in state.texts.segments:
        segment.verify()
    for _ in state.texts.stream(state.doc_ids()):
        progress.advance(1)
    progress.finish()


def _n_bytes(folder: Path, names: list[str]) -> int:
    """Bytes of all files in these folders; one that a writer removes meanwhile has none."""
    total = 0
    for name in names:
        for path in (folder / name).rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue
    return total
