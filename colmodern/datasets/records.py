"""Records of corpus and query files: JSON lines or tab-separated, plain or gzipped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from colmodern.checks import id_fault, shown, text_fault
from colmodern.errors import DataError
from colmodern.reading import Digest, read_lines

ID_NAMES = ("_id", "id", "doc_id", "docid", "pid", "qid", "query_id")
_TABLES = (".tsv", ".txt", ".tab")

Numbered = tuple[int, dict[str, object]]


def find_file(path: Path) -> Path:
    """The file; if it does not exist, the file of that name with ".gz" appended, if that does."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if not os.path.exists(path) and os.path.exists(packed) else path


def read_records(path: Path, digest: Digest | None = None) -> Iterator[Numbered]:
    """Line number and fields of every line that is not blank.

    Args:
        path: .jsonl, or .tsv or .txt with id and text (or a first line that names the columns, as
            "id", "title", "text"); may be gzipped, with a name that ends in .gz.
        digest: is fed the bytes of all lines.

    Raises:
        DataError: the file is missing or a line is malformed.
    """
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix
    return (read_table if suffix in _TABLES else read_jsonl)(path, digest)


def json_object(line: str, location: str) -> dict[str, object]:
    """The object on a line of JSON lines; raises DataError for anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{location}: not valid JSON ({error}); fix or remove the line") from error
    if not isinstance(record, dict):
        raise DataError(f"{location}: not a JSON object; write {{...}} on every line")
    return record


def read_jsonl(path: Path, digest: Digest | None = None) -> Iterator[Numbered]:
    """Records of a file with a JSON object on every line, as ``read_records`` gives them."""
    for number, line in read_lines(path, DataError, digest=digest):
        yield number, json_object(line, f"{path}:{number}")


def read_table(path: Path, digest: Digest | None = None) -> Iterator[Numbered]:
    """Records of a tab-separated file without quoting, as ``read_records`` gives them."""
    columns: list[str] = []
    for number, line in read_lines(path, DataError, digest=digest):
        fields = line.split("\t")
        if not columns:
            is_header = fields[0].strip().lower() in ID_NAMES
            columns = [name.strip().lower() for name in fields] if is_header else ["id", "text"]
            if is_header:
                continue
        if len(fields) != len(columns):
            raise DataError(
                f"{path}:{number}: {len(fields)} fields between tabs instead of {len(columns)} "
                f"({', '.join(map(shown, columns[:5]))}); fix the line, or name the columns in a "
                'first line that begins with "id"'
            )
        yield number, dict(zip(columns, fields, strict=True))


def id_field(record: dict[str, object], path: Path, number: int) -> str:
    """The id of a record, under any of the names that collections give it.

    Raises:
        DataError: the id is missing, or TREC files cannot hold it.
    """
    value = next((record[name] for name in ID_NAMES if record.get(name) is not None), None)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{path}:{number}: field '_id' is {shown(value)}; it must be text")
    if fault := id_fault(value):
        raise DataError(
            f"{path}:{number}: id {shown(value)} {fault}; rename it here and in the judgments"
        )
    return value


def text_field(record: dict[str, object], path: Path, number: int, name: str = "text") -> str:
    """The text of a record, or its title, which may be missing, null or a number.

    Raises:
        DataError: it is missing, no text, or cannot be stored.
    """
    value = record.get(name)
    if name == "title" and (value is None or isinstance(value, int | float)):
        value = "" if value is None else str(value)
    if not isinstance(value, str):
        raise DataError(f"{path}:{number}: field {name!r} is {shown(value)}; it must be text")
    if fault := text_fault(value):
        raise DataError(f"{path}:{number}: field {name!r} {fault}; fix the text")
    return value
