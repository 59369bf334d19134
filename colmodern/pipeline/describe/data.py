"""What ``colmodern info`` says of collections and of files of documents, judgments and results."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from colmodern.datasets.beir import judgments_file
from colmodern.datasets.corpus import read_documents
from colmodern.datasets.judgments import read_judgments, read_queries
from colmodern.datasets.load import load_dataset
from colmodern.datasets.own_sets import LocalSet, read_sets
from colmodern.datasets.records import find_file, read_records
from colmodern.errors import DataError
from colmodern.evaluation.measures import evaluate
from colmodern.evaluation.trec import fields_of, read_qrels, read_run
from colmodern.reading import read_lines
from colmodern.types import Document, Qrels

_CORPUS, _QUERIES, _QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
_LINES = (".jsonl", ".json")
_LOOK = 20  # lines of a file that say what is in it


def is_collection(folder: Path) -> bool:
    """Whether a folder has documents, queries or judgments in the BEIR layout."""
    names = (_CORPUS, f"{_CORPUS}.gz", _QUERIES, f"{_QUERIES}.gz", _QRELS)
    return any(os.path.exists(folder / name) for name in names)


def describe_collection(folder: Path) -> dict[str, object]:
    """Counts, lengths and judgments of a folder in the BEIR layout; what it lacks is said.

    Raises DataError for a malformed file.
    """
    facts: dict[str, object] = {"collection": str(folder)}
    corpus, queries = find_file(folder / _CORPUS), find_file(folder / _QUERIES)
    facts |= _documents(read_documents(corpus)) if corpus.exists() else {"documents": "none"}
    facts |= _queries(read_queries(queries)) if queries.exists() else {"queries": "none"}
    files = {path.name.partition(".tsv")[0]: path for path in (folder / _QRELS).glob("*.tsv*")}
    splits = {name: judgments_file(folder, name) for name in sorted(files)}
    facts["splits"] = {name: _judgments(_grades(path)) for name, path in splits.items()}
    return facts


def describe_named(name: str) -> dict[str, object]:
    """Counts, lengths and judgments of a named collection.

    Raises DataError when it was not fetched.
    """
    dataset = load_dataset(name)
    return {
        "collection": name,
        "description": dataset.description,
        **_documents(dataset.corpus),
        **_queries(dataset.queries),
        "judgments": _judgments(dataset.qrels),
    }


def describe_own_sets(path: Path) -> dict[str, str]:
    """Name -> source of every data set that a file names."""
    return {
        name: f"{known.documents}" + ("" if known.documents.exists() else ", which is not there")
        if isinstance(known, LocalSet)
        else f"{known.repo}, fetched with: {known.fetch_command()}"
        for name, known in read_sets(path).items()
    }


def describe_data_file(path: Path) -> dict[str, object] | None:
    """What a file of documents, queries, judgments or results holds; None where it is none of them.

    Raises DataError for one that is malformed.
    """
    if Path(path.name.removesuffix(".gz")).suffix in _LINES:
        return _describe_records(path)
    lines = _first_lines(path)
    if not lines:
        raise DataError(f"{path} is empty; give a file with at least one line")
    cells = [line.split("\t") for line in lines]
    words = [fields_of(line) for line in lines]
    if all(len(row) == 6 and _is_number(row[4]) for row in words):
        return _describe_results(path)
    if all(len(row) == 4 and _is_number(row[3]) for row in words):
        return {"judgments_file": str(path), "format": "TREC", **_judgments(read_qrels(path))}
    if all(len(row) == 3 for row in cells) and all(_is_number(row[2]) for row in cells[1:]):
        return {"judgments_file": str(path), "format": "BEIR", **_judgments(_grades(path))}
    return _describe_records(path) if all(len(row) > 1 for row in cells) else None


def _describe_records(path: Path) -> dict[str, object]:
    _, first = next(iter(read_records(path)), (0, {}))
    if not first:
        raise DataError(f"{path} is empty; give a file with at least one line")
    if "query_id" in first and "retrieved" in first:
        return {"values_of_a_run": str(path), "queries": sum(1 for _ in read_records(path))}
    if "query" in first and not {"_id", "id", "text"} & first.keys():
        n_rows = sum(1 for _ in read_records(path))
        return {"training_rows_file": str(path), "rows": n_rows, "fields": list(first)}
    if "quer" in path.name or "topic" in path.name:
        return {"queries_file": str(path), **_queries(read_queries(path))}
    return {"documents_file": str(path), **_documents(read_documents(path))}


def _describe_results(path: Path) -> dict[str, object]:
    run = read_run(path)
    scores = [scored.score for results in run.values() for scored in results]
    facts = {
        "run_file": str(path),
        "queries": len(run),
        "results": len(scores),
        "results_of_a_query": _spread([len(results) for results in run.values()]),
        "documents": len({scored.doc_id for results in run.values() for scored in results}),
        "scores": {"lowest": min(scores), "highest": max(scores)},
        "tag": fields_of(_first_lines(path)[0])[5],
    }
    qrels = path.with_name("qrels.trec")
    if qrels.is_file():
        judgments = read_qrels(qrels)
        is_judged = not run.keys().isdisjoint(judgments)
        facts["measures"] = (
            dict(evaluate(run, judgments).mean)
            if is_judged
            else f"none: {qrels.name} beside it judges none of its queries"
        )
    return facts


def _documents(documents: Iterable[Document]) -> dict[str, object]:
    words, n_titles, n_empty = array("q"), 0, 0
    for document in documents:
        words.append(len(document.text.split()))
        n_titles += bool(document.title.strip())
        n_empty += not document.text.strip()
    return {
        "documents": len(words),
        "words_of_a_document": _spread(words),
        "documents_with_title": n_titles,
        "documents_without_text": n_empty,
    }


def _queries(queries: Mapping[str, str]) -> dict[str, object]:
    lengths = [len(text.split()) for text in queries.values()]
    return {"queries": len(lengths), "words_of_a_query": _spread(lengths)}


def _judgments(qrels: Qrels) -> dict[str, object]:
    grades = Counter(grade for row in qrels.values() for grade in row.values())
    relevant = [sum(grade > 0 for grade in row.values()) for row in qrels.values()]
    return {
        "judged_queries": len(qrels),
        "judgments": grades.total(),
        "grades": dict(sorted(grades.items())),
        "relevant_documents_of_a_query": _spread(relevant),
    }


def _grades(path: Path) -> dict[str, dict[str, int]]:
    return read_judgments(path, None, None).qrels


def _spread(counts: Iterable[int]) -> dict[str, float] | None:
    values = np.fromiter(counts, np.int64)
    if not len(values):
        return None
    return {
        "mean": round(float(values.mean()), 1),
        "median": float(np.median(values)),
        "least": int(values.min()),
        "most": int(values.max()),
    }


def _first_lines(path: Path) -> list[str]:
    """The first lines that are not blank."""
    return [line for _, line in islice(read_lines(path, DataError), _LOOK)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
