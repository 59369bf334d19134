"""Rows of ids, as the large distillation sets have them, joined with their texts when read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colmodern.config.train import DistillationConfig, SourceConfig
from colmodern.errors import DataError
from colmodern.training.examples import as_list, as_numbers, scaled

_COLUMNS = ("query_id", "document_ids", "scores")


class Joined:
    """Gives rows of query_id, document_ids and scores the texts behind the ids.

    rows: datasets.Dataset of those three columns
    queries: datasets.Dataset of query_id and text
    documents: datasets.Dataset of document_id and text

    Ids stay in memory, texts on disk. Raises DataError when a column is missing.
    """

    def __init__(
        self,
        rows: Any,
        queries: Any,
        documents: Any,
        *,
        source: SourceConfig,
        teacher: DistillationConfig | None,
    ) -> None:
        for part, columns in (
            (rows, _COLUMNS),
            (queries, ("query_id", "text")),
            (documents, ("document_id", "text")),
        ):
            if missing := [name for name in columns if name not in part.column_names]:
                raise DataError(
                    f"{source.path}: no column {missing[0]!r} among {', '.join(part.column_names)}; "
                    "name the configs of rows, queries and documents as subset, queries, documents"
                )
        self._rows = rows.select_columns(list(_COLUMNS))
        self._queries, self._documents = queries, documents
        self._query_places = _places(queries["query_id"])
        self._document_places = _places(documents["document_id"])
        self._source = source
        self._teacher = teacher

    def rows(self) -> Any:
        """A datasets.Dataset whose rows have query, documents and scores."""
        return self._rows.with_transform(self)

    def __call__(self, batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Join a batch; raises DataError for an id without text and for uneven rows."""
        joined: dict[str, list[Any]] = {"query": [], "documents": [], "scores": []}
        columns = (batch[name] for name in _COLUMNS)
        for query_id, document_ids, scores in zip(*columns, strict=True):
            place = f"{self._source.path}, query {query_id}"
            ids, numbers = as_list(document_ids), as_numbers(scores)
            n_ways = self._source.n_ways or 2
            if not ids or numbers is None or min(len(ids), len(numbers)) < n_ways:
                raise DataError(
                    f"{place}: no list of at least {n_ways} document_ids with as many scores; "
                    "lower the source's n_ways or mend the row"
                )
            chosen = [self._place(self._document_places, one, place) for one in ids[:n_ways]]
            kept = numbers[:n_ways]
            query = self._place(self._query_places, query_id, place)
            joined["query"].append(self._queries[query]["text"])
            joined["documents"].append([self._documents[one]["text"] for one in chosen])
            joined["scores"].append(scaled(kept, self._teacher) if self._teacher else kept)
        return joined

    def _place(self, places: Mapping[str, int], one: object, place: str) -> int:
        found = places.get(str(one))
        if found is None:
            raise DataError(f"{place}: id {one!r} has no text in the set; mend or remove the row")
        return found


def _places(ids: Any) -> dict[str, int]:
    return {str(one): place for place, one in enumerate(ids)}
