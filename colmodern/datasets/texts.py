"""Texts of a user's own, with ids: JSON lines, tables, folders of text files, or a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from colmodern.datasets.records import find_file, json_object, read_records, text_field
from colmodern.errors import DataError
from colmodern.reading import read_text

_MARKDOWN = (".md", ".markdown")
_TEXT_FILES = (*_MARKDOWN, ".txt")
_CORPUS = "corpus.jsonl"


def read_texts(path: Path) -> Iterator[dict[str, object]]:
    """The documents of a file or folder, as records with "text", and maybe "id" and "title".

    Args:
        path: A file of JSON lines or tab-separated lines, maybe gzipped; a Markdown file, whose name
            is its id; a folder with corpus.jsonl; or a folder of .md and .txt files, at any depth, whose
            paths are their ids.

    Raises:
        DataError: It is none of these, or malformed; the message names file and line.
    """
    if path.suffix.lower() in _MARKDOWN and path.is_file():
        yield {"id": path.name, "text": read_text(path, DataError)}
    elif not path.is_dir():
        yield from _records(path)
    elif find_file(path / _CORPUS).exists():
        yield from _records(find_file(path / _CORPUS))
    else:
        yield from _text_files(path)


def read_stream(lines: Iterable[bytes], name: str) -> Iterator[dict[str, object]]:
    """The documents of a stream: one JSON object a line, or one text a line.

    Args:
        lines: The stream; its first line that is not blank decides.
        name: What it is called in messages.

    Raises:
        DataError: A line is not UTF-8, or not an object with "text" where the first one is.
    """
    is_json: bool | None = None
    for number, encoded in enumerate(lines, 1):
        try:
            line = encoded.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: not UTF-8 ({error}); convert it") from error
        if not line.strip():
            continue
        if is_json is None:
            is_json = line.lstrip().startswith("{")
        yield _of_line(line, name, number) if is_json else {"text": line}


def _of_line(line: str, name: str, number: int) -> dict[str, object]:
    record = json_object(line, f"{name}:{number}")
    text_field(record, Path(name), number)
    return record


def _records(path: Path) -> Iterator[dict[str, object]]:
    for number, record in read_records(path):
        text_field(record, path, number)
        yield record


def _text_files(folder: Path) -> Iterator[dict[str, object]]:
    """Files in the order of their paths, without hidden ones."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _TEXT_FILES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise DataError(
            f"{folder} has no {_CORPUS} and no {' or '.join(_TEXT_FILES)} file; give a folder of texts"
        )
    for path in paths:
        if path.is_file():
            yield {"id": path.relative_to(folder).as_posix(), "text": read_text(path, DataError)}
