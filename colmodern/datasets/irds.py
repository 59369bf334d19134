"""Collections of the package ir_datasets (extra ir-datasets), in the fields of the BEIR layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from colmodern.errors import DataError
from colmodern.optional import require


def read_records(
    dataset_id: str, subset: Literal["corpus", "queries", "qrels"]
) -> Iterator[dict[str, object]]:
    """The records of an id, as the package gives them; it downloads what is not on this machine.

    A document has what the package calls its default text, without the title where it is title and
    text; a query has its default text.

    Raises:
        DataError: The package does not know the id, has no such part of it, or cannot read it.
        MissingExtraError: It is not installed.
    """
    dataset = _load(dataset_id)
    part = {"corpus": "docs", "queries": "queries", "qrels": "qrels"}[subset]
    if not getattr(dataset, f"has_{part}")():
        raise DataError(
            f"{dataset_id} of ir_datasets has no {part}; choose an id with documents, queries and "
            "judgments"
        )
    records = iter(getattr(dataset, f"{part}_iter")())
    make = {"corpus": _document, "queries": _query, "qrels": _judgment}[subset]
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # whatever the network and its formats raise
            raise _failure(dataset_id, part, error) from error
        yield make(record)


def version() -> str:
    """The version of the package."""
    return str(require("ir_datasets", extra="ir-datasets").__version__)


def _load(dataset_id: str) -> object:
    package = require("ir_datasets", extra="ir-datasets")
    try:
        return package.load(dataset_id)
    except KeyError as error:
        raise DataError(
            f"ir_datasets {package.__version__} has no {dataset_id!r}; its ids are on "
            "https://ir-datasets.com"
        ) from error


def _document(record: Any) -> dict[str, object]:
    title, body = getattr(record, "title", None), getattr(record, "text", None)
    whole = record.default_text()
    if whole == f"{title} {body}":
        return {"_id": record.doc_id, "title": title, "text": body}
    return {"_id": record.doc_id, "text": whole}


def _query(record: Any) -> dict[str, object]:
    return {"_id": record.query_id, "text": record.default_text()}


def _judgment(record: Any) -> dict[str, object]:
    return {"query-id": record.query_id, "corpus-id": record.doc_id, "score": record.relevance}


def _failure(dataset_id: str, part: str, error: Exception) -> DataError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return DataError(
        f"ir_datasets cannot read the {part} of {dataset_id}: {reason}. Check the connection; sets "
        "that need a licence or a registration say on https://ir-datasets.com what to do"
    )
