"""From a folder that a person names to the run, embeddings or index in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from colmodern.checks import shown
from colmodern.config.index import ShardedIndexConfig
from colmodern.config.load import build
from colmodern.datasets.load import load_corpus
from colmodern.errors import DataError, InputError, StorageError
from colmodern.index.bm25.files import is_bm25_index
from colmodern.kernels.device import Devices, resolve_device
from colmodern.pipeline.compressed import ListedShards, compressed_kind, is_index, is_sharded
from colmodern.pipeline.passages import ranked_by_passages
from colmodern.pipeline.run_folder import CONFIG, ENVIRONMENT, is_run
from colmodern.pipeline.stored_files import CURE, read_run_config
from colmodern.pipeline.stored_files import read_run_file as read_run_file  # also called from here
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import PassageRank, Precision

if TYPE_CHECKING:
    from colmodern.index.fields.table import FieldTable
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.index.sharded.index import ShardedIndex

_SNIPPET_CHARS = 160


def stores_of(run_folder: Path) -> dict[str, EmbeddingStore]:
    """The embeddings of a run: "documents" and "queries".

    Raises StorageError when they are gone or damaged.
    """
    return {
        role: EmbeddingStore(run_folder / path)
        for role, path in _embedding_paths(run_folder).items()
    }


def _embedding_paths(run_folder: Path) -> dict[str, str]:
    """Where a run's embeddings are, from its folder, by role."""
    paths: dict[str, str] = read_run_file(run_folder, ENVIRONMENT)["embeddings"]
    for role in ("documents", "queries"):
        if role not in paths:
            raise StorageError(f"{run_folder / ENVIRONMENT}: embeddings.{role}: missing; {CURE}")
    return paths


def store_of(folder: Path) -> EmbeddingStore:
    """The document embeddings of a run folder, or of a folder of shards.

    Raises StorageError when the folder is neither.
    """
    if not os.path.isdir(folder):
        raise StorageError(f"no folder {folder}; give a run folder or a folder of embeddings")
    if not is_run(folder):
        return EmbeddingStore(folder)
    return EmbeddingStore(folder / _embedding_paths(folder)["documents"])


def index_of(folder: Path) -> Path | None:
    """The compressed index that a run was searched with; None where there is none."""
    path = read_run_file(folder, ENVIRONMENT).get("index") if is_run(folder) else None
    return None if path is None else folder / path


def searched_index_of(folder: Path) -> Path | ListedShards | None:
    """The compressed index, or the listed shards, that a run was searched with; None where it had none.

    Raises:
        StorageError: The run is damaged.
    """
    settings = read_run_config(folder).get("index", {}) if is_run(folder) else {}
    if settings.get("kind") == "sharded" and isinstance(settings.get("shards"), list):
        return ListedShards.of(build(ShardedIndexConfig, settings, source=str(folder)))
    return index_of(folder)


def precision_of(folder: Path) -> Precision:
    """Precision of a run's exact search; "float32" for a run with an index or a folder without a run.

    Raises StorageError when its config is damaged.
    """
    index = read_run_config(folder).get("index", {}) if is_run(folder) else {}
    precision = index.get("precision", "float32")
    if precision not in get_args(Precision):
        raise StorageError(
            f"{folder / CONFIG}: index.precision: {shown(precision)} is none of "
            f"{', '.join(get_args(Precision))}; {CURE}"
        )
    return cast(Precision, precision)


def load_compressed(path: Path) -> PlaidIndex | ShardedIndex:
    """A compressed index, or a folder of shards, to be changed.

    Raises:
        InputError: A BM25 index, which is built again.
        StorageError: There is none, or it is damaged.
    """
    if is_bm25_index(path):
        from colmodern.index.bm25.unchangeable import unchangeable_error

        raise unchangeable_error()
    return compressed_kind(path).load(path)


def expect_searchable(folder: Path) -> None:
    """Raise an error for what is neither a run nor embeddings, and is no collection either.

    Raises:
        InputError: An index alone, which has neither a model for queries nor texts.
        StorageError: There is no such folder, or it is empty.
    """
    cure = "give a collection, a run folder or a folder of embeddings"
    if not os.path.isdir(folder):
        raise StorageError(f"there is no folder {folder}; {cure}")
    if not os.listdir(folder):
        raise StorageError(f"{folder} is empty; {cure}")
    if is_index(folder) or is_sharded(folder):
        raise InputError(
            f"{folder} is an index, which knows neither the model of its queries nor its texts; give "
            f"the run or the embeddings that it was built from, and --index {folder}, or make a "
            "collection of the texts with `colmodern collection create`"
        )


def open_searched(
    folder: Path,
    store: EmbeddingStore,
    index: Path | ListedShards | None,
    *,
    precision: Precision | None,
    device: str,
    encoder_device: str,
    device_max_memory: str | None,
    name: str,
    fields: FieldTable | None = None,
    passages: PassageRank | None = None,
) -> tuple[str, Any]:
    """The kind and the index that queries of a folder search: a compressed one, or exact search.

    Args:
        folder: A run, or embeddings.
        store: Its document embeddings.
        index: Folder of a compressed index, or listed shards; None: exact search.
        precision: Of exact search; None: what the run was evaluated with.
        device: Setting of a device, whose "auto" follows the encoder.
        encoder_device: Where the encoder is.
        device_max_memory: Bytes that may stay on a GPU, as "20G"; None: most of what is free.
        name: The setting of the device, for errors.
        fields: Of the documents, for exact search.
        passages: How documents are ranked by their passages; None: as the run was evaluated, else by
            the best of them.

    Raises:
        ConfigError: The device is not usable here.
        InputError: The index is of another encoder, or ``passages`` is set and the store has none.
        StorageError: The index or the run is damaged.
    """
    from colmodern.pipeline.searchers.registry import searcher_class  # loads torch

    kind = "exact" if index is None else "plaid"
    kernels = searcher_class(kind).kernels
    devices = resolve_device(device, kernels=kernels, auto=encoder_device, name=name)
    rank = _rank_of(folder, store, passages)
    if index is not None:
        opened = open_index(index, store, device=devices, device_max_memory=device_max_memory)
        return kind, ranked_by_passages(opened, rank)
    from colmodern.index.exact.index import ExactIndex

    exact = ExactIndex.load(
        store.folder,
        device=devices,
        device_max_memory=device_max_memory,
        precision=precision or precision_of(folder),
        fields=fields,
    )
    return kind, ranked_by_passages(exact, rank)


def _rank_of(
    folder: Path, store: EmbeddingStore, passages: PassageRank | None
) -> PassageRank | None:
    """How the passages of a store rank documents; None where it has whole documents."""
    if not store.has_passages:
        if passages is not None:
            raise InputError(
                f"{folder} has no passages; encode the documents with `colmodern encode --passages`, or "
                "leave the option out"
            )
        return None
    stored = read_run_config(folder).get("search", {}).get("passages") if is_run(folder) else None
    return passages or stored or "best"


def open_index(
    path: Path | ListedShards,
    store: EmbeddingStore,
    *,
    device: str | Devices = "cpu",
    device_max_memory: str | None = None,
) -> PlaidIndex | ShardedIndex:
    """An index, to be searched with queries of the encoder that made a store.

    Args:
        path: Folder of the index, or listed shards.
        store: Embeddings of the encoder that makes the queries.
        device: As ``PlaidIndex.load`` takes it.
        device_max_memory: As ``PlaidIndex.load`` takes it.

    Raises:
        InputError: The index is of another encoder.
        StorageError: As ``PlaidIndex.load``.
    """
    index: PlaidIndex | ShardedIndex
    if isinstance(path, Path):
        kind = compressed_kind(path)
        index = kind.load(path, device=device, device_max_memory=device_max_memory)
    else:
        index = path.open(device, device_max_memory)
    its, mine = index.fingerprint, store.fingerprint
    if None not in (its, mine) and its != mine:
        raise InputError(
            f"{path} was built with another encoder, or other settings of it, than {store.folder}; "
            "give the run or the embeddings that it was built from"
        )
    return index


def index_info(path: Path, *, verify: bool = False) -> dict[str, Any]:
    """What an index of whatever kind says of itself.

    Args:
        path: Folder of the index.
        verify: Whether to compare every file with its checksum first.

    Raises:
        StorageError: It is missing or damaged.
    """
    if is_bm25_index(path):
        from colmodern.index.bm25.index import BM25Index

        if verify:
            BM25Index.check(path)
        return BM25Index.load(path).info()
    kind = compressed_kind(path)
    if verify:
        kind.check(path)
    return kind.load(path).info()


def documents_of(source: Path) -> Iterator[tuple[str, str]]:
    """Id and text of each document of a run, as it was encoded, or of a corpus.

    Args:
        source: A run folder, a folder in the BEIR layout, a file of documents, or a set's name.

    Raises:
        DataError: There is no such corpus, or it is malformed.
        StorageError: The run is damaged.
    """
    from colmodern.encoding.store import document_texts  # loads torch

    if not is_run(source):
        return document_texts(load_corpus(source), join_titles=True)
    read = read_run_config(source).get("dataset", {})
    titles = {name: read[name] for name in ("join_titles", "title_separator") if name in read}
    name = read_run_file(source, ENVIRONMENT)["dataset"].get("source")
    if name is None:
        raise StorageError(f"{source / ENVIRONMENT}: dataset.source: missing; {CURE}")
    return document_texts(load_corpus(name), **{"join_titles": True, **titles})


def text_of_document(folder: Path, doc_id: str) -> str | None:
    """The text that a run encoded for a document; None without a run or without its collection."""
    from colmodern.encoding.store import text_of  # loads torch

    if not is_run(folder):
        return None
    source = read_run_file(folder, ENVIRONMENT)["dataset"].get("source")
    if source is None:
        return None
    read = read_run_config(folder).get("dataset", {})
    titles = {name: read[name] for name in ("join_titles", "title_separator") if name in read}
    try:
        corpus = load_corpus(source)
        return next(
            (text_of(document, **titles) for document in corpus if document.doc_id == doc_id), None
        )
    except (DataError, StorageError):
        return None  # moved or changed since


def snippets(
    folder: Path, doc_ids: set[str], characters: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, str]:
    """The beginning of each document's text, where the folder is a run and its collection is there.

    Args:
        folder: A folder of whatever kind.
        doc_ids: The documents.
        characters: doc_id -> (start, end) of the passage whose beginning is wanted in its place.
    """
    if not is_run(folder):
        return {}
    source = read_run_file(folder, ENVIRONMENT)["dataset"].get("source")
    if source is None:
        return {}
    read = read_run_config(folder).get("dataset", {})
    titles = {name: read[name] for name in ("join_titles", "title_separator") if name in read}
    texts, where = dict[str, str](), characters or {}
    try:
        for document in load_corpus(source):
            if document.doc_id in where:  # they count in the encoded text
                from colmodern.encoding.store import text_of  # loads torch

                start, end = where[document.doc_id]
                texts[document.doc_id] = text_of(document, **titles)[start:end]
            elif document.doc_id in doc_ids:
                texts[document.doc_id] = f"{document.title} {document.text}"
    except (DataError, StorageError):
        return {}  # moved or changed since: results without texts are still results
    return {doc_id: " ".join(texts.get(doc_id, "").split())[:_SNIPPET_CHARS] for doc_id in doc_ids}
