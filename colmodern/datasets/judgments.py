"""Queries and relevance judgments from files."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from colmodern.datasets.records import id_field, read_records, text_field
from colmodern.errors import DataError
from colmodern.files import read_text


def read_queries(path: Path) -> dict[str, str]:
    """Query texts by id, in the order of a file that ``read_records`` reads.

    Raises DataError for a query without text, without id, or with an id that was there before.
    """
    queries: dict[str, str] = {}
    for number, record in read_records(path):
        query_id = id_field(record, path, number)
        if query_id in queries:
            raise DataError(
                f"{path}:{number}: query id {query_id!r} was there before; make ids unique"
            )
        queries[query_id] = text_field(record, path, number)
        if not queries[query_id].strip():
            raise DataError(
                f"{path}:{number}: query {query_id!r} has no text; remove it or give it some"
            )
    return queries


def read_judgments(
    path: Path,
    queries: Mapping[str, str],
    doc_ids: Container[str] | None,
    *,
    is_trec: bool = False,
) -> dict[str, dict[str, int]]:
    """Grades by query and document of a BEIR file: query-id, corpus-id and score between tabs.

    doc_ids: of the corpus; None where judgments of documents it lacks are wanted, as trec_eval
        counts them
    is_trec: lines of four words, query_id 0 doc_id grade, are read as well

    Raises DataError that names the line of a fault, of a query without text or of a document
    that is not there.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_text(path, DataError).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if number == 1 and len(fields) == 3 and not fields[2].strip().lstrip("-").isdigit():
            continue  # the header
        query_id, doc_id, grade = _parse(line, fields, f"{path}:{number}", is_trec=is_trec)
        if query_id not in queries:
            raise DataError(f"{path}:{number}: judges query {query_id!r}, which the queries lack")
        if doc_ids is not None and doc_id not in doc_ids:
            raise DataError(f"{path}:{number}: judges document {doc_id!r}, which the corpus lacks")
        if qrels.setdefault(query_id, {}).setdefault(doc_id, grade) != grade:
            raise DataError(
                f"{path}:{number}: query {query_id!r} and document {doc_id!r} were judged "
                f"{qrels[query_id][doc_id]} before and {grade} here; keep one"
            )
    if not qrels:
        raise DataError(f"{path} has no judgments; give at least one line")
    return qrels


def _parse(line: str, fields: list[str], place: str, *, is_trec: bool) -> tuple[str, str, int]:
    words = line.split()
    if is_trec and len(words) == 4:
        fields = [words[0], words[2], words[3]]
    try:
        query_id, doc_id, grade = fields
        return query_id, doc_id, int(grade)
    except ValueError as error:
        form = "query-id, corpus-id and a whole score between tabs"
        raise DataError(
            f"{place}: {line!r} is not {form}{', nor query_id 0 doc_id grade' if is_trec else ''}"
        ) from error
