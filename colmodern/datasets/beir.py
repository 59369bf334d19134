"""Local collections: a folder in the BEIR layout, or files of any names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from colmodern.checks import shown, storable
from colmodern.datasets.corpus import FileCorpus
from colmodern.datasets.judgments import Judgments, read_excluded, read_judgments, read_queries
from colmodern.datasets.query_fields import read_query_fields
from colmodern.datasets.records import find_file
from colmodern.errors import DataError
from colmodern.types import Corpus, Dataset


def load_beir(folder: Path | str, *, split: str = "test", name: str | None = None) -> Dataset:
    """Read and check a folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv.

    Each file may be gzipped, with a name that ends in ".gz".

    Args:
        folder: the collection's folder.
        split: the file of qrels/ with the judgments; queries without judgments are left out.
        name: the collection's name in results; default: the folder's name.

    Raises:
        DataError: a file is missing or malformed; names the file, the line and the fault.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise DataError(f"no folder {folder}; give one with corpus.jsonl, queries.jsonl and qrels/")
    judgments = judgments_file(folder, split)
    if not os.path.isfile(judgments):
        names = {file.name.partition(".tsv")[0] for file in judgments.parent.glob("*.tsv*")}
        splits = ", ".join(sorted(names)) or "none"
        raise DataError(f"no judgments {judgments}; splits in {judgments.parent}: {splits}")
    corpus = FileCorpus(find_file(folder / "corpus.jsonl"))
    topics = find_file(folder / "queries.jsonl")
    queries = read_queries(topics)
    dataset = judged(
        name or storable(folder.resolve().name),
        f"local collection {storable(str(folder))}, judgments of qrels/{judgments.name}",
        corpus,
        queries,
        read_judgments(judgments, queries, corpus.doc_ids),
        read_excluded(topics),
    )
    return replace(dataset, query_fields=read_query_fields(topics, dataset.queries))


def load_files(name: str, corpus: Path, queries: Path, qrels: Path) -> Dataset:
    """Read and check a collection from three files.

    Args:
        name: the collection's name in results.
        corpus: JSON lines or tab-separated, as ``read_records`` reads.
        queries: JSON lines or tab-separated, as ``read_records`` reads.
        qrels: TREC (query_id 0 doc_id grade) or BEIR (query-id, corpus-id, score between tabs).

    Raises:
        DataError: a file is missing or malformed; names the file, the line and the fault.
    """
    documents = FileCorpus(corpus)
    texts = read_queries(queries)
    grades = read_judgments(qrels, texts, documents.doc_ids, is_trec=True)
    description = f"local files {corpus}, {queries} and {qrels}"
    dataset = judged(name, description, documents, texts, grades, read_excluded(queries))
    return replace(dataset, query_fields=read_query_fields(queries, dataset.queries))


def judgments_file(folder: Path, split: str) -> Path:
    """Path of the judgments of a split in a folder of the BEIR layout; it may not exist."""
    if not split or Path(split).name != split:  # a path could point anywhere
        raise DataError(f"split {shown(split)} is not a name; give one such as test, dev or train")
    return find_file(folder / "qrels" / f"{split}.tsv")


def judged(
    name: str,
    description: str,
    corpus: Corpus,
    queries: Mapping[str, str],
    judgments: Judgments,
    excluded: Mapping[str, Sequence[str]],
) -> Dataset:
    """A data set with the judged ones among the queries."""
    qrels = judgments.qrels
    kept = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    return Dataset(
        name,
        description,
        corpus,
        kept,
        qrels,
        missing=judgments.missing,
        n_queries_left_out=judgments.n_queries_left_out,
        excluded={query_id: ids for query_id, ids in excluded.items() if query_id in kept},
    )
