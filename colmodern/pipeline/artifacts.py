"""From a folder that a person names to what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from colmodern.datasets.load import load_dataset
from colmodern.errors import StorageError
from colmodern.pipeline.run_folder import CONFIG
from colmodern.ragged.store import EmbeddingStore

_SNIPPET_CHARS = 160


def store_of(folder: Path) -> EmbeddingStore:
    """The document embeddings of a run folder, or of a folder of shards.

    Raises StorageError when the folder is neither.
    """
    if not folder.is_dir():
        raise StorageError(f"no folder {folder}; give a run folder or a folder of embeddings")
    if (folder / CONFIG).is_file():
        return EmbeddingStore(read_environment(folder)["embeddings"]["documents"])
    return EmbeddingStore(folder)


def read_environment(run_folder: Path) -> dict[str, Any]:
    """A run's environment.json.

    Raises StorageError when it is missing or damaged.
    """
    path = run_folder / "environment.json"
    try:
        environment: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); run the evaluation again") from error
    return environment


def snippets(folder: Path, doc_ids: set[str]) -> dict[str, str]:
    """The beginning of each document's text, where the folder is a run that knows its collection."""
    if not (folder / CONFIG).is_file():
        return {}
    dataset = yaml.safe_load((folder / CONFIG).read_text("utf-8"))["dataset"]
    corpus = load_dataset(dataset["name"], split=dataset["split"]).corpus
    texts = {
        document.doc_id: f"{document.title} {document.text}"
        for document in corpus
        if document.doc_id in doc_ids
    }
    return {doc_id: " ".join(texts.get(doc_id, "").split())[:_SNIPPET_CHARS] for doc_id in doc_ids}
