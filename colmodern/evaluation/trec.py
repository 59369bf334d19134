"""Runs and judgments as TREC files, which every evaluation tool reads.

Columns are separated by ASCII white space, as in trec_eval; ids may hold any other character,
U+00A0 and U+2028 among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from colmodern.checks import as_score, id_fault, parse_grade, shown
from colmodern.errors import DataError
from colmodern.evaluation.inputs import expect_complete
from colmodern.evaluation.measures import untied
from colmodern.files import write_text
from colmodern.reading import read_lines
from colmodern.types import Qrels, Run, ScoredDoc

_WORD = re.compile(r"[^ \t\v\f\r]+")


def write_run(path: Path, run: Run, *, tag: str) -> None:
    """Write ``query_id Q0 doc_id rank score tag`` lines, ranks from 1.

    Scores are float32 and strictly falling within a query, so sorting by score gives the same
    order everywhere.

    Raises:
        DataError: an id is empty or has white space or a NUL in it.
        InputError: results of a query are incomplete.
    """
    lines = []
    for query_id, results in run.items():
        expect_complete(query_id, results)
        for rank, (doc_id, score) in enumerate(untied(results), start=1):
            lines.append(f"{_word(query_id)} Q0 {_word(doc_id)} {rank} {score:.9g} {_word(tag)}\n")
    write_text(path, "".join(lines))


def read_run(path: Path, *, may_be_empty: bool = False) -> dict[str, list[ScoredDoc]]:
    """Results of every query, best first by score; equal scores keep the order of the file.

    The ranks of the file are not looked at, as in trec_eval. A score of -inf ranks last.

    Args:
        path: plain or gzipped.
        may_be_empty: whether a file without lines is a run without results.

    Raises:
        DataError: a line is malformed, a score cannot be ranked (nan, inf), or a query has a
            document twice; names the line.
    """
    run: dict[str, dict[str, float]] = {}
    form = "query_id Q0 doc_id rank score tag"
    for number, fields in _lines(path, 6, form, may_be_empty=may_be_empty):
        query_id, _, doc_id, _, score, _ = fields
        results = run.setdefault(query_id, {})
        if doc_id in results:
            raise DataError(
                f"{path}:{number}: query {shown(query_id)} has document {shown(doc_id)} twice"
            )
        results[doc_id] = _score(score, f"{path}:{number}")
    return {
        query_id: sorted(
            (ScoredDoc(*pair) for pair in results.items()), key=lambda scored: -scored.score
        )
        for query_id, results in run.items()
    }


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write ``query_id 0 doc_id grade`` lines."""
    lines = [
        f"{_word(query_id)} 0 {_word(doc_id)} {grade}\n"
        for query_id, grades in qrels.items()
        for doc_id, grade in grades.items()
    ]
    write_text(path, "".join(lines))


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Grades by query and document, from a plain or gzipped file.

    Raises:
        DataError: a line is malformed, or gives a document another grade than before; names it.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, (query_id, _, doc_id, word) in _lines(path, 4, "query_id 0 doc_id grade"):
        try:
            grade = parse_grade(word)
        except ValueError as error:
            raise DataError(f"{path}:{number}: grade {shown(word)} {error}") from error
        before = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise DataError(
                f"{path}:{number}: query {shown(query_id)} and document {shown(doc_id)} were "
                f"judged {before} before and {grade} here; keep one"
            )
    return qrels


def fields_of(line: str) -> list[str]:
    """The columns of a line; white space outside ASCII belongs to them."""
    return _WORD.findall(line)


def _lines(
    path: Path, n_fields: int, form: str, *, may_be_empty: bool = False
) -> Iterator[tuple[int, list[str]]]:
    is_empty = True
    for number, line in read_lines(path, DataError):
        fields = fields_of(line)
        if len(fields) != n_fields:
            raise DataError(f"{path}:{number}: {shown(line)} is not of the form {form!r}")
        for value in (fields[0], fields[2]):
            if fault := id_fault(value):
                raise DataError(f"{path}:{number}: id {shown(value)} {fault}; rename it")
        is_empty = False
        yield number, fields
    if is_empty and not may_be_empty:
        raise DataError(f"{path} is empty; give at least one line of the form {form!r}")


def _score(word: str, location: str) -> float:
    try:
        if "_" in word:  # Python's float accepts underscores
            raise ValueError("is not a number")
        return as_score(float(word))
    except ValueError as error:
        reason = str(error) if "rank" in str(error) else "is not a number"
        raise DataError(f"{location}: score {shown(word)} {reason}") from error


def _word(text: str) -> str:
    if fault := id_fault(text):
        raise DataError(f"{shown(text)} cannot stand in a TREC file: it {fault}")
    return text
