"""Queries and relevance judgments from files."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from colmodern.checks import id_fault, parse_grade, shown
from colmodern.datasets.records import id_field, read_records, text_field
from colmodern.errors import DataError
from colmodern.reading import read_lines

logger = logging.getLogger(__name__)

_QUERY = ("query-id", "query_id", "queryid", "qid", "query", "topic", "topic-id", "topic_id", "_id")
_DOCUMENT = (
    *("corpus-id", "corpus_id", "corpusid", "doc-id", "doc_id", "docid", "docno", "did"),
    *("document-id", "document_id", "passage-id", "passage_id", "pid"),
)
_GRADE = ("score", "relevance", "rel", "grade", "label", "relevancy", "judgment", "judgement")
_FORM = "query-id, corpus-id and a whole score between tabs"
_TREC_FORM = "query_id 0 doc_id grade"
_SPACE = " \t\v\f\r"  # ids may hold the white space outside ASCII
_warned: set[str] = set()


@dataclass(frozen=True)
class Judgments:
    """Grades of the queries that have text, and counts of what else a file judges.

    Attributes:
        qrels: query_id -> doc_id -> grade, also for documents that the corpus lacks: as in
            trec_eval they count in the ideal ranking, and no search can find them.
        missing: query_id -> number of its judged documents that the corpus lacks, where positive.
        n_queries_left_out: number of judged queries without text, which cannot be searched.
    """

    qrels: dict[str, dict[str, int]]
    missing: dict[str, int]
    n_queries_left_out: int = 0


class _Judgment(NamedTuple):
    number: int  # line number, from 1
    query_id: str
    doc_id: str
    grade: int


def read_queries(path: Path) -> dict[str, str]:
    """Query texts by id, in the order of a file that ``read_records`` reads.

    Raises:
        DataError: a query has no text, no id, or a repeated id.
    """
    queries: dict[str, str] = {}
    for number, record in read_records(path):
        query_id = id_field(record, path, number)
        if query_id in queries:
            raise DataError(
                f"{path}:{number}: query id {shown(query_id)} was there before; make ids unique"
            )
        queries[query_id] = text_field(record, path, number)
        if not queries[query_id].strip():
            raise DataError(
                f"{path}:{number}: query {shown(query_id)} has no text; remove it or give it some"
            )
    return queries


def read_excluded(path: Path) -> dict[str, tuple[str, ...]]:
    """query_id -> documents that may not be its results, from the records with "excluded".

    Raises:
        DataError: the field is not a list of ids.
    """
    excluded: dict[str, tuple[str, ...]] = {}
    for number, record in read_records(path):
        ids = record.get("excluded")
        if ids is None:
            continue
        if not isinstance(ids, list) or not all(isinstance(doc_id, str) for doc_id in ids):
            raise DataError(
                f"{path}:{number}: field 'excluded' is {shown(ids)}; give a list of document ids"
            )
        if ids:
            excluded[id_field(record, path, number)] = tuple(dict.fromkeys(ids))
    return excluded


def read_judgments(
    path: Path,
    queries: Mapping[str, str] | None,
    doc_ids: Container[str] | None,
    *,
    is_trec: bool = False,
) -> Judgments:
    """Grades by query and document of a BEIR file: query-id, corpus-id and score between tabs.

    A first line is a header if its first field is a name of that column ("query-id", "qid") and its
    last is not a number; its names then give the order of the columns. A judgment of a document that
    the corpus lacks is kept, a judgment of a query without text is left out; both are counted and
    logged.

    Args:
        path: plain or gzipped.
        queries: query_id -> text; None if they are unknown: then every judgment is kept.
        doc_ids: ids of the corpus; None if they are unknown: then no document counts as missing.
        is_trec: whether lines of four words, query_id 0 doc_id grade, are read as well.

    Raises:
        DataError: a line is malformed (names it), or most judged documents are not in the corpus
            or most judged queries have no text, so that file and collection do not belong together.
    """
    qrels: dict[str, dict[str, int]] = {}
    unknown: dict[str, _Judgment] = {}
    lacking: list[_Judgment] = []
    for judgment in _judgments(path, is_trec=is_trec):
        number, query_id, doc_id, grade = judgment
        if queries is not None and query_id not in queries:
            unknown.setdefault(query_id, judgment)
            continue
        grades = qrels.setdefault(query_id, {})
        if doc_id not in grades and doc_ids is not None and doc_id not in doc_ids:
            lacking.append(judgment)
        if grades.setdefault(doc_id, grade) != grade:
            raise DataError(
                f"{path}:{number}: query {shown(query_id)} and document {shown(doc_id)} were "
                f"judged {grades[doc_id]} before and {grade} here; keep one"
            )
    if not qrels and not unknown:
        raise DataError(f"{path} has no judgments; give at least one line")
    if len(unknown) > len(qrels):
        first = next(iter(unknown.values()))
        raise DataError(
            f"{path}:{first.number}: judges query {shown(first.query_id)}, which the queries lack, "
            f"as they lack {len(unknown)} of {len(unknown) + len(qrels)} judged queries; give the "
            "queries that these judgments belong to"
        )
    _check_documents(lacking, sum(map(len, qrels.values())), str(path))
    missing: dict[str, int] = {}
    for judgment in lacking:
        missing[judgment.query_id] = missing.get(judgment.query_id, 0) + 1
    if unknown:
        _warn_once(
            f"{path}: {len(unknown)} of {len(unknown) + len(qrels)} judged queries have no text, the "
            f"first is {shown(next(iter(unknown)))}; their judgments are left out"
        )
    return Judgments(qrels, missing, len(unknown))


def _check_documents(lacking: Sequence[_Judgment], n_judgments: int, location: str) -> None:
    """Warn of judgments of documents that the corpus lacks.

    Args:
        lacking: judgments of these documents.
        n_judgments: number of judgments of all documents.
        location: the file, for messages.

    Raises:
        DataError: they are the majority, so that the corpus must be the wrong one.
    """
    if not lacking:
        return
    first = lacking[0]
    if 2 * len(lacking) > n_judgments:
        raise DataError(
            f"{location}:{first.number}: judges document {shown(first.doc_id)}, which the corpus lacks, "
            f"as it lacks {len(lacking)} of {n_judgments} judged documents; give the corpus that "
            "these judgments belong to"
        )
    _warn_once(
        f"{location}: the corpus lacks {len(lacking)} of {n_judgments} judged documents, the first is "
        f"{shown(first.doc_id)}; they stay in the judgments, and measures count them as not retrieved"
    )


def _warn_once(message: str) -> None:
    """Log a warning unless this process has logged it before."""
    if message not in _warned:
        _warned.add(message)
        logger.warning("%s", message)


def _judgments(path: Path, *, is_trec: bool) -> list[_Judgment]:
    """Judgments of a file, line by line, with the columns in the order of its header."""
    columns: tuple[int, int, int] | None = None
    judgments = []
    is_first = True
    for number, line in read_lines(path, DataError):
        fields = [field.strip(_SPACE) for field in line.split("\t")]
        if is_first and _is_header(fields):
            columns = _columns(fields, f"{path}:{number}")
            is_first = False
            continue
        is_first = False
        if columns is None:
            fields = _trec_fields(line, fields) if is_trec else fields
            usable = fields if len(fields) == 3 else []
        else:
            usable = [fields[i] for i in columns] if len(fields) > max(columns) else []
        judgments.append(_judgment(number, usable, line, path, is_trec=is_trec))
    return judgments


def _is_header(fields: list[str]) -> bool:
    """Whether a first line names columns; with a grade in it, "query" is the id of a query."""
    if len(fields) < 3 or fields[0].lower() not in _QUERY:
        return False
    try:
        parse_grade(fields[-1])
    except ValueError:
        return True
    return False


def _columns(fields: list[str], location: str) -> tuple[int, int, int]:
    """Positions of the columns of query, document and grade."""
    names = [name.lower() for name in fields]
    document, grade = (
        next((i for i, name in enumerate(names) if i and name in known), None)
        for known in (_DOCUMENT, _GRADE)
    )
    if document is not None and grade is not None:
        return 0, document, grade
    if len(names) == 3 and document != 2 and grade != 1:
        return 0, 1, 2  # an unknown name in its usual position
    raise DataError(
        f"{location}: the columns are called {', '.join(map(shown, fields[:6]))}; name them "
        "query-id, corpus-id and score"
    )


def _trec_fields(line: str, fields: list[str]) -> list[str]:
    words = [word for word in line.replace("\t", " ").split(" ") if word.strip(_SPACE)]
    return [words[0], words[2], words[3]] if len(words) == 4 else fields


def _judgment(number: int, fields: list[str], line: str, path: Path, *, is_trec: bool) -> _Judgment:
    location = f"{path}:{number}"
    if len(fields) != 3:
        form = f"{_FORM}, nor {_TREC_FORM}" if is_trec else _FORM
        raise DataError(f"{location}: {shown(line)} is not {form}")
    query_id, doc_id, grade = fields
    for name, value in (("query", query_id), ("document", doc_id)):
        if fault := id_fault(value):
            raise DataError(
                f"{location}: the id of the {name}, {shown(value)}, {fault}; fix the line"
            )
    try:
        return _Judgment(number, query_id, doc_id, parse_grade(grade))
    except ValueError as error:
        raise DataError(
            f"{location}: grade {shown(grade)} of query {shown(query_id)} and document "
            f"{shown(doc_id)} {error}; give one as 0, 1 or 2"
        ) from error
