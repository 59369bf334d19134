"""From a folder that a person names to what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from pydantic import BaseModel, ValidationError, field_validator

from colmodern.config.read import read_values
from colmodern.datasets.load import load_corpus
from colmodern.errors import ConfigError, DataError, InputError, StorageError
from colmodern.files import read_json_object
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, is_run
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Precision

if TYPE_CHECKING:
    from colmodern.index.plaid.index import PlaidIndex

_SNIPPET_CHARS = 160
_CURE = "run the evaluation again"


class _DatasetRecord(BaseModel):
    """Where the collection of a run is."""

    source: str


class _Environment(BaseModel):
    """The part of a run's environment.json that leads to its files; paths are from its folder."""

    embeddings: dict[Literal["documents", "queries"], str]
    index: str | None = None
    dataset: _DatasetRecord

    @field_validator("embeddings")
    @classmethod
    def _has_documents(cls, embeddings: dict[str, str]) -> dict[str, str]:
        if "documents" not in embeddings:
            raise ValueError("documents is missing")
        return embeddings


def stores_of(run_folder: Path) -> dict[str, EmbeddingStore]:
    """The embeddings of a run: "documents" and "queries".

    Raises StorageError when they are gone or damaged.
    """
    places = _environment(run_folder).embeddings
    return {role: EmbeddingStore(run_folder / place) for role, place in places.items()}


def store_of(folder: Path) -> EmbeddingStore:
    """The document embeddings of a run folder, or of a folder of shards.

    Raises StorageError when the folder is neither.
    """
    if not folder.is_dir():
        raise StorageError(f"no folder {folder}; give a run folder or a folder of embeddings")
    if not is_run(folder):
        return EmbeddingStore(folder)
    return EmbeddingStore(folder / _environment(folder).embeddings["documents"])


def index_of(folder: Path) -> Path | None:
    """The compressed index that a run was searched with; None where there is none."""
    place = _environment(folder).index if is_run(folder) else None
    return None if place is None else folder / place


def precision_of(folder: Path) -> Precision:
    """Of the documents that a run scored exactly; "float32" of a run with an index, and of no run.

    Raises ConfigError when its config is damaged.
    """
    index = read_values(folder / CONFIG).get("index") if is_run(folder) else None
    precision = index.get("precision", "float32") if isinstance(index, dict) else "float32"
    if precision not in get_args(Precision):
        raise ConfigError(
            f"{folder / CONFIG}: index.precision={precision!r} is not one of "
            f"{', '.join(get_args(Precision))}; {_CURE}"
        )
    return cast(Precision, precision)


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
    its, mine = index.info()["fingerprint"], store.fingerprint
    if None not in (its, mine) and its != mine:
        raise InputError(
            f"{path} was built with another encoder, or other settings of it, than {store.folder}; "
            "give the run or the embeddings that it was built from"
        )
    return index


def _environment(run_folder: Path) -> _Environment:
    """Raises StorageError that names the field that is missing or wrong."""
    fields = read_run_file(run_folder, ENVIRONMENT)
    try:
        return _Environment.model_validate(fields, strict=True)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise StorageError(
            f"{run_folder / ENVIRONMENT} has a wrong {place} ({fault['msg']}); {_CURE}"
        ) from error


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
        corpus = load_corpus(_environment(folder).dataset.source)
    except DataError:
        return {}  # moved or changed since: results without texts are still results
    texts = {
        document.doc_id: f"{document.title} {document.text}"
        for document in corpus
        if document.doc_id in doc_ids
    }
    return {doc_id: " ".join(texts.get(doc_id, "").split())[:_SNIPPET_CHARS] for doc_id in doc_ids}
