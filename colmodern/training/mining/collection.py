"""The collections that negatives are mined from: a judged data set, or the positives of pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from colmodern.config.mine import MineConfig
from colmodern.errors import DataError
from colmodern.files import sha256_of_texts
from colmodern.pipeline.open.data import dataset_from_config
from colmodern.reading import user_path
from colmodern.training.examples import check_rows, read_rows
from colmodern.types import Dataset, Document


class TextCorpus:
    """A corpus of texts in memory, whose ids are the texts' positions."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self.fingerprint = sha256_of_texts(texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Document]:
        return (Document(str(position), text) for position, text in enumerate(self._texts))


def open_collection(config: MineConfig) -> Dataset:
    """The collection of a config.

    Raises:
        DataError: A file is malformed, or no query has a positive.
    """
    if config.dataset is not None:
        dataset = _without_missing(dataset_from_config(config.dataset))
    else:
        assert config.pairs is not None
        dataset = _dataset_of_pairs(user_path(config.pairs, DataError), config.max_rows)
    if not any(grade > 0 for grades in dataset.qrels.values() for grade in grades.values()):
        raise DataError(f"{dataset.description}: no query has a positive; give judgments above 0")
    return dataset


def _without_missing(dataset: Dataset) -> Dataset:
    """The data set without the judgments of documents that its corpus lacks: they have no text."""
    if not dataset.missing:
        return dataset
    judged = {doc_id for grades in dataset.qrels.values() for doc_id in grades}
    present = {document.doc_id for document in dataset.corpus if document.doc_id in judged}
    qrels = {
        query_id: {doc_id: grade for doc_id, grade in grades.items() if doc_id in present}
        for query_id, grades in dataset.qrels.items()
    }
    return dataclasses.replace(dataset, qrels=qrels, missing={})


def _dataset_of_pairs(path: Path, max_rows: int | None) -> Dataset:
    """A data set of pairs: every distinct positive is a document; equal queries share positives."""
    documents: dict[str, int] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for row in check_rows(islice(read_rows(path), max_rows), "pairs", None):
        query_id = queries.setdefault(row["query"], str(len(queries)))
        position = documents.setdefault(row["positive"], len(documents))
        qrels.setdefault(query_id, {})[str(position)] = 1
    if not queries:
        raise DataError(f"{path} has no rows; give at least one")
    texts = {query_id: query for query, query_id in queries.items()}
    return Dataset(path.name, f"pairs of {path}", TextCorpus(list(documents)), texts, qrels)
