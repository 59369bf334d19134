"""Loading of collections by name, by folder or from files."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Mapping
from pathlib import Path

from colmodern.arguments import (
    checked_count,
    checked_path,
    expect_counts,
    expect_flags,
    listed,
)
from colmodern.checks import shown
from colmodern.datasets.beir import judged, judgments_file, load_beir, load_files
from colmodern.datasets.corpus import DocumentsWithText, FetchedCorpus, FileCorpus
from colmodern.datasets.fetch import checked_split, set_folder, verify
from colmodern.datasets.hashed_ids import HashedIds
from colmodern.datasets.judgments import read_excluded, read_judgments, read_queries
from colmodern.datasets.names import Registry, find_set, set_defaults, suggestion
from colmodern.datasets.own_sets import LocalSet
from colmodern.datasets.query_fields import read_query_fields, with_template
from colmodern.datasets.records import find_file
from colmodern.datasets.registry import BUILT_IN, NamedSet
from colmodern.datasets.stdlib import load_stdlib
from colmodern.errors import DataError, InputError
from colmodern.reading import user_path
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
    registry: str | Path | None = None,
    query_template: str | None = None,
) -> Dataset:
    """Load a test collection.

    Args:
        name_or_folder: The name of a set that was fetched ("beir/scifact", "mldr/en",
            "irds:vaswani"), of one's own set, or "stdlib", which is built in; or a local folder in
            the BEIR layout.
        split: Split of judgments; default the split that results on the set are reported on, else
            "test".
        files: Paths of corpus, queries and judgments, instead of a folder; ``name_or_folder`` is
            then their name in results.
        max_queries: Most judged queries to keep: the first ones in the file's order, or a random
            sample of them with ``sample_seed``.
        sample_seed: Seed of that sample.
        drop_empty_documents: Whether to leave out documents with empty text; default as in the
            set's suite.
        registry: File that names data sets of one's own, beside
            ~/.config/colmodern/datasets.yaml.
        query_template: Text that a model reads for each query, with fields of its record in braces, as
            "{instruction} {text}"; default the query's text.

    Returns:
        Documents, queries and judgments. The documents are read from disk when they are iterated.

    Raises:
        ConfigError: A file of data sets is malformed.
        DataError: There is no such collection, it was not fetched, or a file is malformed.
        InputError: An argument is out of range or of a wrong type.
        StorageError: A fetched collection is damaged.
    """
    name = str(checked_path("name_or_folder", name_or_folder, "a collection's name or folder"))
    expect_counts(max_queries=max_queries)
    if sample_seed is not None:
        checked_count("sample_seed", sample_seed, least=0)
    if drop_empty_documents is not None:
        expect_flags(drop_empty_documents=drop_empty_documents)
    if not isinstance(split, str | None):
        raise InputError(f"split={shown(split)}; pass its name, as 'test', or None")
    if files is not None:
        three = "pass the paths of corpus, queries and judgments"
        paths = [
            checked_path(f"files[{position}]", path)
            for position, path in enumerate(listed("files", files, three))
        ]
        if len(paths) != 3:
            raise InputError(f"files={shown(files)} has {len(paths)} paths; {three}")
        corpus, queries, qrels = (user_path(path, DataError) for path in paths)
        dataset = load_files(name, corpus, queries, qrels)
    elif name == BUILT_IN:
        dataset = load_stdlib()
    elif os.path.isdir(folder := user_path(name, DataError)):
        dataset = load_beir(folder, split=split or "test")
    elif (known := find_set(name, registry)) is not None:
        dataset = _load_known(known, split)
    else:
        raise _unknown(name, registry)
    drop = (
        set_defaults("" if files else name, registry).drop_empty_documents
        if drop_empty_documents is None
        else drop_empty_documents
    )
    if drop:
        dataset = dataclasses.replace(dataset, corpus=DocumentsWithText(dataset.corpus))
    if max_queries is not None:
        dataset = _keep_queries(dataset, max_queries, sample_seed)
    return dataset if query_template is None else with_template(dataset, query_template)


def load_corpus(name_or_path: str | Path, split: str | None = None) -> Corpus:
    """The documents alone of a named collection, a BEIR folder or a file of documents.

    Args:
        name_or_path: A name, folder or file.
        split: Split of a named collection, whose splits may differ in their documents.

    Raises:
        DataError: There is no such collection, or its documents are malformed.
    """
    path = user_path(name_or_path, DataError)
    if str(name_or_path) == BUILT_IN:
        return load_stdlib().corpus
    if os.path.isdir(path):
        return FileCorpus(find_file(path / "corpus.jsonl"))
    if os.path.exists(path):
        return FileCorpus(path)
    return load_dataset(name_or_path, split=split, drop_empty_documents=False).corpus


def load_queries(name_or_folder: str | Path, split: str | None = None) -> Mapping[str, str]:
    """Queries by id: all queries of a BEIR folder, the judged queries of a named collection.

    Raises:
        DataError: There is no such collection, or its queries are malformed.
    """
    path = user_path(name_or_folder, DataError)
    if str(name_or_folder) != BUILT_IN and os.path.isdir(path):
        return read_queries(find_file(path / "queries.jsonl"))
    return load_dataset(name_or_folder, split=split).queries


def load_judgments(name_or_folder: str | Path, split: str | None = None) -> Qrels:
    """Judgments of a collection; empty if a BEIR folder has none for this split.

    Raises:
        DataError: The judgments are malformed.
    """
    path = user_path(name_or_folder, DataError)
    if os.path.isdir(path) and not os.path.isfile(judgments_file(path, split or "test")):
        return {}
    return load_dataset(name_or_folder, split=split).qrels


def _load_known(known: NamedSet | LocalSet, split: str | None) -> Dataset:
    split = checked_split(known, split)
    if isinstance(known, NamedSet):
        return _load_fetched(known, split)
    if known.folder is not None:
        return load_beir(known.folder, split=split, name=known.name)
    assert known.files is not None, "a local set has a folder or files"
    return load_files(known.name, *known.files)


def _load_fetched(named_set: NamedSet, split: str) -> Dataset:
    manifest = verify(named_set, split)
    folder = set_folder(named_set, split)
    corpus = FetchedCorpus(
        folder / "corpus.jsonl",
        n_docs=manifest["documents"],
        fingerprint=manifest["files"]["corpus.jsonl"]["sha256"],
    )
    queries = read_queries(folder / "queries.jsonl")
    # the corpus is read for its ids only if some of them are missing
    has_missing = manifest["judgments_of_unknown_documents"] > 0
    doc_ids = HashedIds(document.doc_id for document in corpus) if has_missing else None
    judgments = read_judgments(folder / "qrels" / f"{split}.tsv", queries, doc_ids)
    judgments = dataclasses.replace(
        judgments, n_queries_left_out=manifest["judged_queries_left_out"]
    )
    where = "hub" if manifest["source"] == "hub" else f"copy {manifest['source']}"
    origin = f"{named_set.repo} at revision {named_set.revision[:12]} from the {where}"
    if named_set.layout == "ir_datasets":
        origin = f"{named_set.repo} of {manifest['source']}"
    description = f"{named_set.name}: {origin}, judgments of {split}"
    excluded = read_excluded(folder / "queries.jsonl")
    dataset = judged(named_set.name, description, corpus, queries, judgments, excluded)
    return dataclasses.replace(
        dataset,
        revision=named_set.revision if where == "hub" else None,  # a copy may be of any revision
        query_fields=read_query_fields(folder / "queries.jsonl", dataset.queries),
    )


def _unknown(name: str, registry: Registry) -> DataError:
    hint = suggestion(name, registry)
    hint += "" if hint.endswith("?") else "."
    return DataError(
        f"no data set {name!r}: it is not a known name, not on disk and not built in ({BUILT_IN}); "
        f"{hint} Or give a folder with corpus.jsonl, queries.jsonl and qrels/"
    )


def _keep_queries(dataset: Dataset, n: int, seed: int | None) -> Dataset:
    ids = list(dataset.queries)
    if seed is None:
        ids = ids[:n]
    elif n < len(ids):
        sample = set(random.Random(seed).sample(ids, n))
        ids = [query_id for query_id in ids if query_id in sample]
    kept = set(ids)
    return dataclasses.replace(
        dataset,
        queries={query_id: dataset.queries[query_id] for query_id in ids},
        qrels={query_id: dataset.qrels[query_id] for query_id in ids},
        missing={query_id: n for query_id, n in dataset.missing.items() if query_id in kept},
        excluded={query_id: x for query_id, x in dataset.excluded.items() if query_id in kept},
        query_fields={q: fields for q, fields in dataset.query_fields.items() if q in kept},
    )
