"""Joins rows of ids, the form of large distillation sets, with their texts when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from colmodern.config.train import DistillationConfig, SourceConfig
from colmodern.errors import DataError
from colmodern.training.examples import as_list, as_numbers, scale_scores

if TYPE_CHECKING:
    import datasets

_COLUMNS = ("query_id", "document_ids", "scores")


class TextJoin:
    """Gives rows of query_id, document_ids and scores the texts behind the ids.

    Ids stay in memory, texts on disk.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        queries: datasets.Dataset,
        documents: datasets.Dataset,
        *,
        source: SourceConfig,
        teacher: DistillationConfig | None,
    ) -> None:
        """Check the columns and read the ids.

        Args:
            rows: Columns query_id, document_ids and scores.
            queries: Columns query_id and text.
            documents: Columns document_id and text.
            source: Config of the set, for n_ways and for messages.
            teacher: How scores are scaled, None to leave them as they are.

        Raises:
            DataError: A column is missing.
        """
        for table, columns in (
            (rows, _COLUMNS),
            (queries, ("query_id", "text")),
            (documents, ("document_id", "text")),
        ):
            if missing := [name for name in columns if name not in table.column_names]:
                raise DataError(
                    f"{source.path}: no column {missing[0]!r} among {', '.join(table.column_names)}; "
                    "name the configs of rows, queries and documents as subset, queries, documents"
                )
        self._rows = rows.select_columns(list(_COLUMNS))
        self._queries, self._documents = queries, documents
        self._query_rows = _rows_by_id(queries["query_id"])
        self._document_rows = _rows_by_id(documents["document_id"])
        self._source = source
        self._teacher = teacher

    def dataset(self) -> datasets.Dataset:
        """The rows as a dataset of query, documents and scores, joined when they are read."""
        return self._rows.with_transform(self)

    def __call__(self, batch: Mapping[str, list[object]]) -> dict[str, list[Any]]:
        """Join a batch.

        Raises:
            DataError: An id has no text, or ids and scores of a row differ in number.
        """
        joined: dict[str, list[object]] = {"query": [], "documents": [], "scores": []}
        columns = (batch[name] for name in _COLUMNS)
        for query_id, document_ids, scores in zip(*columns, strict=True):
            location = f"{self._source.path}, query {query_id}"
            ids, numbers = as_list(document_ids), as_numbers(scores)
            n_ways = self._source.n_ways or 2
            if not ids or numbers is None or min(len(ids), len(numbers)) < n_ways:
                raise DataError(
                    f"{location}: no list of at least {n_ways} document_ids with as many scores; "
                    "lower the source's n_ways or mend the row"
                )
            documents = [_row_of(id_, self._document_rows, location) for id_ in ids[:n_ways]]
            kept = numbers[:n_ways]
            query = _row_of(query_id, self._query_rows, location)
            joined["query"].append(self._queries[query]["text"])
            joined["documents"].append([self._documents[row]["text"] for row in documents])
            joined["scores"].append(scale_scores(kept, self._teacher) if self._teacher else kept)
        return joined


def _row_of(id_: object, rows_by_id: Mapping[str, int], location: str) -> int:
    row = rows_by_id.get(str(id_))
    if row is None:
        raise DataError(f"{location}: id {id_!r} has no text in the set; mend or remove the row")
    return row


def _rows_by_id(ids: Iterable[object]) -> dict[str, int]:
    return {str(id_): row for row, id_ in enumerate(ids)}
