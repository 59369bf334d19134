"""Records of corpus and query files: JSON lines or tab-separated, plain or gzipped."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colmodern.errors import DataError

_IDS = ("_id", "id", "doc_id", "docid", "pid", "qid", "query_id")
_TABLES = (".tsv", ".txt", ".tab")

Numbered = tuple[int, dict[str, Any]]


def read_records(path: Path, digest: Any = None) -> Iterator[Numbered]:
    """Line number and fields of every line that is not blank; ``digest`` is fed the bytes.

    path: .jsonl, or .tsv or .txt with id and text (or a first line that names the columns, as
        "id", "title", "text"); either may end in .gz

    Raises DataError for a missing file or a line of another form.
    """
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix
    return (read_table if suffix in _TABLES else read_jsonl)(path, digest)


def read_jsonl(path: Path, digest: Any = None) -> Iterator[Numbered]:
    """Records of a file with a JSON object on every line, as ``read_records``."""
    for number, line in _read_lines(path, digest):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: not valid JSON ({error}); mend or remove the line"
            ) from error
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: not a JSON object; write {{...}} on every line")
        yield number, record


def read_table(path: Path, digest: Any = None) -> Iterator[Numbered]:
    """Records of a tab-separated file without quoting, as ``read_records``."""
    columns: list[str] = []
    for number, line in _read_lines(path, digest):
        try:
            fields = line.decode("utf-8-sig").rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not UTF-8 text ({error}); convert it") from error
        if not columns:
            is_header = fields[0].strip().lower() in _IDS
            columns = [name.strip().lower() for name in fields] if is_header else ["id", "text"]
            if is_header:
                continue
        if len(fields) != len(columns):
            raise DataError(
                f"{path}:{number}: {len(fields)} fields between tabs, not {len(columns)} "
                f"({', '.join(columns)}); mend the line, or name the columns in a first line "
                'that begins with "id"'
            )
        yield number, dict(zip(columns, fields, strict=True))


def id_field(record: dict[str, Any], path: Path, number: int) -> str:
    """The id of a record, under any of the names that collections give it.

    Raises DataError for a missing id or one that TREC files cannot hold.
    """
    value = next((record[name] for name in _IDS if record.get(name) is not None), None)
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{path}:{number}: field '_id' is {value!r}; it must be text")
    checked = _without_surrogates(value, "_id", path, number)
    if any(letter.isspace() for letter in checked):
        raise DataError(
            f"{path}:{number}: id {value!r} has white space, which TREC files cannot hold; "
            "rename it here and in the judgments"
        )
    return checked


def text_field(record: dict[str, Any], path: Path, number: int) -> str:
    """The text of a record.

    Raises DataError when it is missing or no text.
    """
    value = record.get("text")
    if not isinstance(value, str):
        raise DataError(f"{path}:{number}: field 'text' is {value!r}; it must be text")
    return _without_surrogates(value, "text", path, number)


def _without_surrogates(value: str, name: str, path: Path, number: int) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}:{number}: field {name!r} has half of a surrogate pair ({error}); mend the text"
        ) from error
    return value


def _read_lines(path: Path, digest: Any) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if digest is not None:
                    digest.update(line)
                if line.strip():
                    yield number, line
    except (OSError, EOFError) as error:  # gzip says EOFError when the file is cut short
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot read {path}: {reason}") from error
