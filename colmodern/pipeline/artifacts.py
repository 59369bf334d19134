"""From a folder that a person names to what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from colmodern.config.read import read_values
from colmodern.datasets.load import load_corpus
from colmodern.errors import DataError, InputError, StorageError
from colmodern.files import read_json_object
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, is_run
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Precision

if TYPE_CHECKING:
    from colmodern.index.plaid.index import PlaidIndex

_SNIPPET_CHARS = 160
_CURE = "run the evaluation again"


def stores_of(run_folder: Path) -> dict[str, EmbeddingStore]:
    """The embeddings of a run: "documents" and "queries".

    Raises StorageError when they are gone or damaged.
    """
    places = read_run_file(run_folder, ENVIRONMENT)["embeddings"]
    return {role: EmbeddingStore(run_folder / place) for role, place in places.items()}


def store_of(folder: Path) -> EmbeddingStore:
    """The document embeddings of a run folder, or of a folder of shards.

    Raises StorageError when the folder is neither.
    """
    if not folder.is_dir():
        raise StorageError(f"no folder {folder}; give a run folder or a folder of embeddings")
    return stores_of(folder)["documents"] if is_run(folder) else EmbeddingStore(folder)


def index_of(folder: Path) -> Path | None:
    """The compressed index that a run was searched with; None where there is none."""
    place = read_run_file(folder, ENVIRONMENT).get("index") if is_run(folder) else None
    return None if place is None else folder / place


def precision_of(folder: Path) -> Precision:
    """Of the documents that a run scored exactly; "float32" of a run with an index, and of no run.

    Raises ConfigError when its config is damaged.
    """
    index = read_values(folder / CONFIG).get("index") if is_run(folder) else None
    return cast(Precision, (index or {}).get("precision", "float32"))


def is_index(folder: Path) -> bool:
    """Whether a folder says that it is a compressed index, of whatever version and state."""
    from colmodern.index.plaid.manifest import FORMAT, NAME

    try:
        manifest = read_json_object(folder / NAME, StorageError, cure=_CURE)
    except StorageError:
        return False
    return manifest.get("format") == FORMAT


def open_index(
    path: Path,
    store: EmbeddingStore,
    *,
    device: str = "cpu",
    device_memory: str | None = None,
) -> PlaidIndex:
    """An index, to be searched with queries of the encoder that made a store.

    device, device_memory: as ``PlaidIndex.load`` takes them

    Raises InputError when the index is of another encoder, StorageError as ``PlaidIndex.load``.
    """
    from colmodern.index.plaid.index import PlaidIndex  # loads numba

    index = PlaidIndex.load(path, device=device, device_memory=device_memory)
    its, mine = index.info()["fingerprint"], store.manifest["encoder"]["fingerprint"]
    if its not in (None, mine):
        raise InputError(
            f"{path} was built with another encoder, or other settings of it, than {store.folder}; "
            "give the run or the embeddings that it was built from"
        )
    return index


def read_run_file(run_folder: Path, name: str) -> dict[str, Any]:
    """One of a run's JSON files.

    Raises StorageError when it is missing or damaged.
    """
    return read_json_object(run_folder / name, StorageError, cure=_CURE)


def snippets(folder: Path, doc_ids: set[str]) -> dict[str, str]:
    """The beginning of each document's text, where the folder is a run and its collection is there."""
    if not is_run(folder):
        return {}
    try:
        corpus = load_corpus(read_run_file(folder, ENVIRONMENT)["dataset"]["source"])
    except DataError:
        return {}  # moved or changed since: results without texts are still results
    texts = {
        document.doc_id: f"{document.title} {document.text}"
        for document in corpus
        if document.doc_id in doc_ids
    }
    return {doc_id: " ".join(texts.get(doc_id, "").split())[:_SNIPPET_CHARS] for doc_id in doc_ids}
