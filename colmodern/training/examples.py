"""Training examples: rows of files, checked and brought into the columns of a batch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from colmodern.checks import shown, text_fault
from colmodern.config.train import DistillationConfig, Kind
from colmodern.datasets.records import read_jsonl
from colmodern.errors import DataError

if TYPE_CHECKING:
    import hashlib

Row = Mapping[str, Any]
Example = dict[str, Any]  # columns of a batch: text, lists of text, lists of floats
LocatedRow = tuple[str, Row]  # "file:line" or "file, row n", and the row

_FORMS = {
    "pairs": '{"query": text, "positive": text}',
    "triples": '{"query": text, "positive": text, "negative": text} (or "negatives": [text, ...])',
    "scores": '{"query": text, "documents": [text, ...], "scores": [number, ...]}',
}
_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz")


def is_file_name(path: str) -> bool:
    """Whether a path names a file of examples, by its ending, and not a set on the hub."""
    return path.endswith((*_LINES, ".parquet"))


def read_rows(path: Path, digest: hashlib._Hash | None = None) -> Iterator[LocatedRow]:
    """Rows of a file of JSON lines or a .parquet file, each with its location.

    Args:
        path: The file.
        digest: A hashlib object that is fed the bytes of a file of JSON lines.

    Raises:
        DataError: The file cannot be read, or a line is not a JSON object.
    """
    if path.suffix != ".parquet":
        for number, record in read_jsonl(path, digest):
            yield f"{path}:{number}", record
        return
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", record
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"cannot read {path}: {error}; write it again as parquet") from error


def check_rows(rows: Iterator[LocatedRow], kind: Kind, n_ways: int | None) -> Iterator[Example]:
    """The columns that training takes, of every row.

    Rows of kind pairs give query and positive; triples give negative_0, negative_1, ... too; scores
    give query, documents and scores.

    Args:
        rows: Locations and rows.
        kind: The kind of all rows.
        n_ways: Documents that a query keeps; None keeps all, and every row must have as many as
            the first one.

    Raises:
        DataError: A row is not of this kind; the message names its location.
    """
    read: dict[str, Callable[[Row, str], tuple[str, list[str], list[float]]]] = {
        "pairs": _pair,
        "triples": _triple,
        "scores": _scored,
    }
    n_documents, first = n_ways, ""
    for location, row in rows:
        query, documents, scores = read[kind](row, location)
        if n_documents is None:
            n_documents, first = len(documents), location
        if len(documents) < n_documents or (n_ways is None and len(documents) != n_documents):
            reason = f"n_ways asks for {n_documents}" if n_ways else f"{first} has {n_documents}"
            raise DataError(
                f"{location}: {len(documents)} documents, but {reason}; set the source's n_ways to "
                "the least number, or remove the row"
            )
        yield _columns(kind, query, documents[:n_documents], scores[:n_documents])


def _columns(kind: Kind, query: str, documents: list[str], scores: list[float]) -> Example:
    if kind == "scores":
        return {"query": query, "documents": documents, "scores": scores}
    negatives = {f"negative_{i}": text for i, text in enumerate(documents[1:])}
    return {"query": query, "positive": documents[0], **negatives}


def _pair(row: Row, location: str) -> tuple[str, list[str], list[float]]:
    return _text(row, "query", location, "pairs"), [_text(row, "positive", location, "pairs")], []


def _triple(row: Row, location: str) -> tuple[str, list[str], list[float]]:
    query = _text(row, "query", location, "triples")
    positive = _text(row, "positive", location, "triples")
    name = "negatives" if row.get("negatives") is not None else "negative"
    value = row.get(name)
    negatives = value if isinstance(value, list) else [value]
    if not negatives or not all(_is_text(text) and text.strip() for text in negatives):
        raise _fault(location, name, value, "triples")
    return query, [positive, *negatives], []


def _scored(row: Row, location: str) -> tuple[str, list[str], list[float]]:
    query, documents, scores = (
        _text(row, "query", location, "scores"),
        row.get("documents"),
        row.get("scores"),
    )
    if not isinstance(documents, list) or len(documents) < 2:
        raise _fault(location, "documents", documents, "scores")
    if not all(_is_text(text) for text in documents):
        raise _fault(location, "documents", documents, "scores")
    numbers = as_numbers(scores)
    if numbers is None:
        raise _fault(location, "scores", scores, "scores")
    if len(numbers) != len(documents):
        raise DataError(
            f"{location}: {len(documents)} documents and {len(numbers)} scores; give one score a document"
        )
    return query, documents, numbers


def as_list(value: object) -> list[Any] | None:
    """A list, also one written as text, as in some sets of the hub; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value.replace("'", '"'))
        except ValueError:
            return None
    return value if isinstance(value, list) else None


def as_numbers(value: object) -> list[float] | None:
    """A list of finite numbers as floats, also one written as text; None for anything else."""
    numbers = as_list(value)
    if numbers is None or not all(isinstance(x, int | float) for x in numbers):
        return None
    return [float(x) for x in numbers] if all(map(math.isfinite, numbers)) else None


def scale_scores(scores: Sequence[float], teacher: DistillationConfig) -> list[float]:
    """A query's teacher scores as the loss takes them: normalized to [0, 1], over the temperature."""
    least, most = min(scores), max(scores)
    if teacher.normalize_teacher:  # equal scores teach nothing: they become 0
        scores = [(x - least) / (most - least) if most > least else 0.0 for x in scores]
    return [x / teacher.temperature for x in scores]


def _text(row: Row, name: str, location: str, kind: Kind) -> str:
    value = row.get(name)
    if not _is_text(value) or not value.strip():
        raise _fault(location, name, value, kind, row)
    return value


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and text_fault(value) is None


def _fault(
    location: str, name: str, value: object, kind: Kind, row: Row | None = None
) -> DataError:
    if kind != "scores" and row is not None and {"documents", "scores"} <= row.keys():
        return DataError(
            f"{location}: a row of query, documents and scores, as colmodern mine writes them, is of kind "
            f"scores, not {kind}; set the source's kind to scores and the objective to distillation, "
            "as configs/train/mined.yaml does"
        )
    fault = text_fault(value) if isinstance(value, str) else None
    what = f"is {shown(value)}" if fault is None else fault
    return DataError(
        f"{location}: field {name!r} {what}; a row of kind {kind} is {_FORMS[kind]}: mend or "
        "remove it, or change the source's kind"
    )
