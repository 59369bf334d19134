"""Collections of the package ir_datasets (extra ir-datasets), in the fields of the BEIR layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from colmodern.errors import DataError
from colmodern.optional import require

_SHOWN = 3  # ids that a message lists


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
            f"judgments{_whole_ids(dataset_id)}"
        )
    records = _records(dataset, part)
    make = {"corpus": _document, "queries": _query, "qrels": _judgment}[subset]
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # whatever the network and its formats raise
            raise _failure(dataset_id, part, error) from error
        yield make(record)


def _records(dataset: Any, part: str) -> Iterator[Any]:
    yield from getattr(dataset, f"{part}_iter")()  # what it raises, the first next() raises


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


def _whole_ids(dataset_id: str) -> str:
    """Ids below one that have all parts, as the end of a message."""
    package = require("ir_datasets", extra="ir-datasets")
    below = [name for name in package.registry if name.startswith(f"{dataset_id}/")]
    whole = [name for name in below if package.load(name).has_qrels()]
    return f", such as {' or '.join(whole[:_SHOWN])}" if whole else ""


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
    reason = str(error.args[0]) if error.args else ""  # after it, each try to download
    reason = next(iter(reason.strip().splitlines()), type(error).__name__)
    return DataError(
        f"ir_datasets cannot read the {part} of {dataset_id}: {reason}. Check the connection; sets "
        "that need a licence or a registration say on https://ir-datasets.com what to do"
    )
