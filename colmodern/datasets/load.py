"""One door to every collection."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path

from colmodern.datasets.beir import JsonlCorpus, load_beir, read_queries
from colmodern.datasets.stdlib import load_stdlib
from colmodern.errors import DataError, InputError
from colmodern.types import Corpus, Dataset, Qrels

BUILT_IN = {"stdlib": load_stdlib}


def load_dataset(
    name_or_folder: str | Path,
    *,
    split: str = "test",
    max_queries: int | None = None,
    sample_seed: int | None = None,
) -> Dataset:
    """A test collection: "stdlib", which is built in, or a local folder in the BEIR layout.

    split: which judgments of a BEIR folder
    max_queries: keep at most this many judged queries: the first ones in the file's order,
        or a random sample of them when ``sample_seed`` is given
    sample_seed: seed of that sample

    Raises DataError when there is no such collection or one of its files is malformed.
    """
    if max_queries is not None and max_queries < 1:
        raise InputError(f"max_queries={max_queries}; keep at least 1")
    built_in = BUILT_IN.get(str(name_or_folder))
    if built_in is not None:
        dataset = built_in()
    elif (folder := Path(name_or_folder).expanduser()).is_dir():
        dataset = load_beir(folder, split=split)
    else:
        raise _unknown(name_or_folder)
    return dataset if max_queries is None else _keep_queries(dataset, max_queries, sample_seed)


def load_corpus(name_or_path: str | Path) -> Corpus:
    """The documents alone: of a built-in collection, a BEIR folder or a corpus.jsonl.

    Raises DataError when there is no such collection or its documents are malformed.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path) in BUILT_IN:
        return BUILT_IN[str(name_or_path)]().corpus
    if path.is_dir():
        return JsonlCorpus(path / "corpus.jsonl")
    if path.is_file():
        return JsonlCorpus(path)
    raise _unknown(name_or_path)


def load_queries(name_or_folder: str | Path) -> Mapping[str, str]:
    """All queries by id, judged or not: of a built-in collection or a BEIR folder.

    Raises DataError when there is no such collection or its queries are malformed.
    """
    path = Path(name_or_folder).expanduser()
    if str(name_or_folder) in BUILT_IN:
        return BUILT_IN[str(name_or_folder)]().queries
    if path.is_dir():
        return read_queries(path / "queries.jsonl")
    raise _unknown(name_or_folder)


def load_judgments(name_or_folder: str | Path, split: str) -> Qrels:
    """Judgments of a collection, empty where a BEIR folder has none of this split.

    Raises DataError when they are malformed.
    """
    path = Path(name_or_folder).expanduser()
    if path.is_dir() and not (path / "qrels" / f"{split}.tsv").is_file():
        return {}
    return load_dataset(name_or_folder, split=split).qrels


def _unknown(name_or_path: str | Path) -> DataError:
    return DataError(
        f"no data set {str(name_or_path)!r}: it is neither on disk nor built in "
        f"({', '.join(BUILT_IN)}); give a folder with corpus.jsonl, queries.jsonl and qrels/"
    )


def _keep_queries(dataset: Dataset, n: int, seed: int | None) -> Dataset:
    ids = list(dataset.queries)
    if seed is None:
        ids = ids[:n]
    elif n < len(ids):
        chosen = set(random.Random(seed).sample(ids, n))
        ids = [query_id for query_id in ids if query_id in chosen]
    return dataclasses.replace(
        dataset,
        queries={query_id: dataset.queries[query_id] for query_id in ids},
        qrels={query_id: dataset.qrels[query_id] for query_id in ids},
    )
