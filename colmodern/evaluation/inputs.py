"""Checks of runs and judgments as callers pass them, so that measures read str, float and int."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colmodern.checks import as_grade, as_score, id_fault, shown
from colmodern.errors import InputError
from colmodern.types import Qrels, ScoredDoc


def checked_qrels(qrels: Qrels) -> dict[str, dict[str, int]]:
    """Judgments with every id a str and every grade an int.

    Args:
        qrels: query_id -> doc_id -> grade, which may be a NumPy number, 1.0 or True.

    Raises:
        InputError: an id is not an id or a grade no whole number; names the query and the document.
    """
    _need_mapping("qrels", qrels, "query_id -> doc_id -> grade")
    checked: dict[str, dict[str, int]] = {}
    for query_id, grades in qrels.items():
        _check_id("qrels: query", query_id)
        location = f"qrels: query {shown(query_id)}"
        _need_mapping(location, grades, "doc_id -> grade")
        row = checked[str(query_id)] = {}
        for doc_id, grade in grades.items():
            _check_id(f"{location}: document", doc_id)
            try:
                row[str(doc_id)] = as_grade(grade)
            except ValueError as error:
                raise InputError(
                    f"{location}, document {shown(doc_id)}: grade {shown(grade)} {error}; "
                    "give one as 0, 1 or 2"
                ) from error
    return checked


def checked_run(
    run: Mapping[str, object], qrels: Mapping[str, object]
) -> dict[str, list[ScoredDoc]]:
    """The results of judged queries, in their order, with every id a str and every score a float.

    Args:
        run: query_id -> results, as a list of ScoredDocs or pairs, or as doc_id -> score; equal
            scores of a mapping are in the order of their ids.
        qrels: only the results of these queries are looked at.

    Raises:
        InputError: an id is no id, a score no score, or a document is given twice (names the query
            and the document); or the run has queries and none of them is judged.
    """
    _need_mapping("run", run, "query_id -> results")
    for query_id in run:
        _check_id("run: query", query_id)
    judged = {str(query_id) for query_id in run if query_id in qrels}
    if len(run) and not judged:
        raise InputError(
            f"none of the {len(run)} queries of the run is judged: the run has "
            f"{shown(next(iter(run)))}, the judgments have {shown(next(iter(qrels)))}; give the "
            "judgments of these queries"
        )
    return {query_id: _results(query_id, run[query_id]) for query_id in qrels if query_id in judged}


def expect_complete(query_id: str, results: object) -> None:
    """Raise InputError for results that lack a part of the index: no measure of them is one of it."""
    if getattr(results, "is_complete", True) is not False:
        return
    missing = ", ".join(getattr(getattr(results, "shards", None), "missing", ())) or "a part"
    raise InputError(
        f"the results of query {shown(query_id)} are incomplete: {missing} is missing; search again "
        "when all shards answer"
    )


def _results(query_id: str, results: Any) -> list[ScoredDoc]:
    expect_complete(query_id, results)
    location = f"run: query {shown(query_id)}"
    is_mapping = _is_mapping(results)
    try:
        pairs = list(results.items() if is_mapping else results)
    except Exception:  # a number, None, an array without dimensions, what its class raises
        pairs = None
    if pairs is None or isinstance(results, str | bytes):
        raise InputError(f"{location} has {shown(results)}; give ScoredDocs, or doc_id -> score")
    checked: dict[str, float] = {}
    for result in pairs:
        doc_id, value = _pair(result, location)
        _check_id(f"{location}: document", doc_id)
        if doc_id in checked:
            raise InputError(f"{location} has document {shown(doc_id)} twice; keep one")
        try:
            checked[str(doc_id)] = as_score(value)
        except ValueError as error:
            raise InputError(
                f"{location}, document {shown(doc_id)}: score {shown(value)} {error}"
            ) from error
    results = [ScoredDoc(doc_id, score) for doc_id, score in checked.items()]
    return (
        sorted(results, key=lambda scored: (-scored.score, scored.doc_id))
        if is_mapping
        else results
    )


def _pair(result: object, location: str) -> tuple[object, object]:
    """Id and score of a pair, or of a record with more fields, such as a RankedDoc."""
    if hasattr(result, "doc_id") and hasattr(result, "score"):
        return result.doc_id, result.score
    if isinstance(result, tuple | list) and len(result) == 2:
        return result[0], result[1]
    raise InputError(f"{location} has {shown(result)}; give pairs of doc_id and score")


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping) or (hasattr(value, "items") and hasattr(value, "keys"))


def _need_mapping(name: str, value: object, form: str) -> None:
    if not _is_mapping(value):
        raise InputError(f"{name} is of type {type(value).__name__}; give a mapping: {form}")


def _check_id(name: str, value: object) -> None:
    if fault := id_fault(value):
        raise InputError(f"{name} id {shown(value)} {fault}")
