"""Runs and judgments as TREC files, which every evaluation tool reads."""

from __future__ import annotations

from pathlib import Path

from colmodern.errors import DataError
from colmodern.evaluation.measures import untied
from colmodern.files import read_text, write_text
from colmodern.types import Qrels, Run, ScoredDoc


def write_run(path: Path, run: Run, *, tag: str) -> None:
    """Write ``query_id Q0 doc_id rank score tag`` lines, ranks from 1.

    Scores are float32 and strictly falling within a query, so sorting by score gives the same
    order everywhere. Raises DataError for an id with white space in it.
    """
    lines = []
    for query_id, results in run.items():
        for rank, (doc_id, score) in enumerate(untied(results), start=1):
            lines.append(f"{_word(query_id)} Q0 {_word(doc_id)} {rank} {score:.9g} {_word(tag)}\n")
    write_text(path, "".join(lines))


def read_run(path: Path) -> dict[str, list[ScoredDoc]]:
    """Results of every query, best first; equal scores keep the order of the file.

    Raises DataError that names a malformed line or a document that a query has twice.
    """
    run: dict[str, dict[str, float]] = {}
    for number, fields in _lines(path, 6, "query_id Q0 doc_id rank score tag"):
        query_id, _, doc_id, _, score, _ = fields
        results = run.setdefault(query_id, {})
        if doc_id in results:
            raise DataError(f"{path}:{number}: query {query_id!r} has document {doc_id!r} twice")
        try:
            results[doc_id] = float(score)
        except ValueError as error:
            raise DataError(f"{path}:{number}: score {score!r} is not a number") from error
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
    """Grades by query and document.

    Raises DataError that names a malformed line.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, (query_id, _, doc_id, grade) in _lines(path, 4, "query_id 0 doc_id grade"):
        try:
            qrels.setdefault(query_id, {})[doc_id] = int(grade)
        except ValueError as error:
            raise DataError(f"{path}:{number}: grade {grade!r} is not a whole number") from error
    return qrels


def _lines(path: Path, n_fields: int, form: str) -> list[tuple[int, list[str]]]:
    parsed = []
    for number, line in enumerate(read_text(path, DataError).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != n_fields:
            raise DataError(f"{path}:{number}: {line!r} is not of the form {form!r}")
        parsed.append((number, fields))
    if not parsed:
        raise DataError(f"{path} is empty; give at least one line of the form {form!r}")
    return parsed


def _word(text: str) -> str:
    if not text or any(letter.isspace() for letter in text):
        raise DataError(f"{text!r} cannot stand in a TREC file: it is empty or has white space")
    return text
