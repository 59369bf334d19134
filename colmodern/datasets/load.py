"""One door to every collection."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path

from colmodern.datasets.beir import judged, load_beir, load_files
from colmodern.datasets.corpus import DocumentsWithText, FetchedCorpus, FileCorpus
from colmodern.datasets.fetch import checked_split, set_folder, verify
from colmodern.datasets.judgments import read_judgments, read_queries
from colmodern.datasets.registry import BUILT_IN, NamedSet, named_sets, suggestion, usual
from colmodern.datasets.stdlib import load_stdlib
from colmodern.errors import DataError, InputError
from colmodern.types import Corpus, Dataset, Qrels

Files = tuple[str | Path, str | Path, str | Path]  # corpus, queries, qrels


def load_dataset(
    name_or_folder: str | Path,
    *,
    split: str | None = None,
    files: Files | None = None,
    max_queries: int | None = None,
    sample_seed: int | None = None,
    drop_empty_documents: bool | None = None,
) -> Dataset:
    """A test collection.

    name_or_folder: the name of a set that was fetched ("beir/scifact", "mldr/en"), "stdlib",
        which is built in, or a local folder in the BEIR layout
    split: which judgments; default those that results on the set are reported on, else "test"
    files: corpus, queries and judgments of any names, instead of those of a folder; then
        ``name_or_folder`` is what results call them
    max_queries: keep at most this many judged queries: the first ones in the file's order,
        or a random sample of them when ``sample_seed`` is given
    sample_seed: seed of that sample
    drop_empty_documents: leave out documents whose text is empty; default as the set's suite does

    Raises DataError when there is no such collection, or it was not fetched, or one of its files
    is malformed; StorageError when a fetched one is damaged.
    """
    if max_queries is not None and max_queries < 1:
        raise InputError(f"max_queries={max_queries}; keep at least 1")
    name = str(name_or_folder)
    if files is not None:
        corpus, queries, qrels = (Path(path).expanduser() for path in files)
        dataset = load_files(name, corpus, queries, qrels)
    elif name == BUILT_IN:
        dataset = load_stdlib()
    elif (folder := Path(name).expanduser()).is_dir():
        dataset = load_beir(folder, split=split or "test")
    elif found := named_sets().get(name):
        dataset = _load_fetched(found, checked_split(found, split))
    else:
        raise _unknown(name)
    drop = (
        usual(name).drop_empty_documents if drop_empty_documents is None else drop_empty_documents
    )
    if drop:
        dataset = dataclasses.replace(dataset, corpus=DocumentsWithText(dataset.corpus))
    return dataset if max_queries is None else _keep_queries(dataset, max_queries, sample_seed)


def load_corpus(name_or_path: str | Path, split: str | None = None) -> Corpus:
    """The documents alone: of a named collection, a BEIR folder or a file of documents.

    split: of a named collection, whose splits may have documents of their own

    Raises DataError when there is no such collection or its documents are malformed.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path) == BUILT_IN:
        return load_stdlib().corpus
    if path.is_dir():
        return FileCorpus(path / "corpus.jsonl")
    if path.is_file():
        return FileCorpus(path)
    return load_dataset(name_or_path, split=split, drop_empty_documents=False).corpus


def load_queries(name_or_folder: str | Path, split: str | None = None) -> Mapping[str, str]:
    """All queries by id: of a BEIR folder judged or not, of a named collection the judged ones.

    Raises DataError when there is no such collection or its queries are malformed.
    """
    path = Path(name_or_folder).expanduser()
    if str(name_or_folder) != BUILT_IN and path.is_dir():
        return read_queries(path / "queries.jsonl")
    return load_dataset(name_or_folder, split=split).queries


def load_judgments(name_or_folder: str | Path, split: str | None = None) -> Qrels:
    """Judgments of a collection, empty where a BEIR folder has none of this split.

    Raises DataError when they are malformed.
    """
    path = Path(name_or_folder).expanduser()
    if path.is_dir() and not (path / "qrels" / f"{split or 'test'}.tsv").is_file():
        return {}
    return load_dataset(name_or_folder, split=split).qrels


def _load_fetched(found: NamedSet, split: str) -> Dataset:
    manifest = verify(found, split)
    folder = set_folder(found, split)
    corpus = FetchedCorpus(
        folder / "corpus.jsonl",
        n_docs=manifest["documents"],
        fingerprint=manifest["files"]["corpus.jsonl"]["sha256"],
    )
    queries = read_queries(folder / "queries.jsonl")
    qrels = read_judgments(folder / "qrels" / f"{split}.tsv", queries, None)
    where = "hub" if manifest["source"] == "hub" else f"copy {manifest['source']}"
    description = (
        f"{found.name}: {found.repo} at revision {found.revision[:12]} from the {where}, "
        f"judgments of {split}"
    )
    dataset = judged(found.name, description, corpus, queries, qrels)
    # a copy may be of any revision
    return dataclasses.replace(dataset, revision=found.revision if where == "hub" else None)


def _unknown(name: str) -> DataError:
    return DataError(
        f"no data set {name!r}: it is neither on disk nor built in ({BUILT_IN}), and goes by no "
        f"name; {suggestion(name)} Or give a folder with corpus.jsonl, queries.jsonl and qrels/"
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
