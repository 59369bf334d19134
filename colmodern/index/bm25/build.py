"""What a build of a BM25 index does: it counts words, scores postings and writes the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown, text_fault
from colmodern.errors import InputError
from colmodern.files import write_bytes, write_json
from colmodern.index.bm25.files import ID_RANKS, PARAMETERS, POSTINGS, VOCABULARY
from colmodern.index.bm25.words import Analyzer
from colmodern.index.plaid.disk.doc_ids import write_doc_ids
from colmodern.index.ranking import id_ranks
from colmodern.progress import Progress
from colmodern.ragged.arrays import write_array

_TEXTS = 'pass (id, text) pairs, or a mapping {"id": "text"}'


def count_words(
    documents: object, analyzer: Analyzer, progress: Progress
) -> tuple[list[str], list[list[int]], dict[str, int]]:
    """Ids, and the numbers of each document's words, with the vocabulary in order of appearance."""
    items = documents.items() if isinstance(documents, Mapping) else documents
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise InputError(f"documents={shown(documents)}; {_TEXTS}")
    total = len(items) if isinstance(items, Sized) else 0
    ids, word_numbers, vocabulary = [], [], {}  # type: ignore[var-annotated]
    progress.start("count words", total, unit="documents")
    for position, item in enumerate(items):
        is_pair = isinstance(item, tuple | list) and len(item) == 2
        if not is_pair or not isinstance(item[0], str):
            raise InputError(f"documents[{position}] is {shown(item)}; {_TEXTS}")
        text = checked_text(f"documents[{position}][1]", item[1])
        ids.append(item[0])
        word_numbers.append(
            [vocabulary.setdefault(word, len(vocabulary)) for word in analyzer.words(text)]
        )
        progress.advance(1)
    progress.finish()
    return ids, word_numbers, vocabulary


def score(scorer: Any, word_numbers: list[list[int]], vocabulary: dict[str, int]) -> None:
    """Let bm25s compute the postings; without any word there are none."""
    if vocabulary:
        scorer.index((word_numbers, vocabulary), create_empty_token=False, show_progress=False)
        return
    scorer.vocab_dict = {}
    scorer.scores = {
        "data": np.empty(0, np.float32),
        "indices": np.empty(0, np.int32),
        "indptr": np.zeros(1, np.int64),
        "num_docs": len(word_numbers),
    }


def write(folder: Path, scorer: Any, ids: Sequence[str], version: str) -> None:
    """Write FILES; bm25s reads its part of them with ``bm25s.BM25.load``."""
    arrays: tuple[npt.NDArray[np.generic], ...] = (
        np.asarray(scorer.scores["data"], np.float32),
        np.asarray(scorer.scores["indices"], np.int32),
        np.asarray(scorer.scores["indptr"], np.int64),
    )
    for name, array in zip(POSTINGS, arrays, strict=True):
        write_array(folder / name, array)
    write_bytes(folder / VOCABULARY, json.dumps(scorer.vocab_dict, ensure_ascii=False).encode())
    parameters = ("k1", "b", "delta", "method", "idf_method", "dtype", "int_dtype", "backend")
    values = {name: getattr(scorer, name) for name in parameters}
    write_json(folder / PARAMETERS, {**values, "num_docs": len(ids), "version": version})
    write_doc_ids(folder, ids)
    write_array(folder / ID_RANKS, id_ranks(ids))


def checked_text(name: str, text: object) -> str:
    """The text; raises InputError for a value that is no text, or cannot be stored."""
    if not isinstance(text, str):
        raise InputError(f"{name} is {shown(text)}; pass a text")
    if fault := text_fault(text):
        raise InputError(f"{name} is {shown(text)}, which {fault}; correct it")
    return text
