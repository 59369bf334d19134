"""Local collections: a folder in the BEIR layout, or files of any names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from colmodern.datasets.corpus import FileCorpus
from colmodern.datasets.judgments import read_judgments, read_queries
from colmodern.errors import DataError
from colmodern.types import Corpus, Dataset, Qrels


def load_beir(folder: Path | str, *, split: str = "test", name: str | None = None) -> Dataset:
    """Read and check a folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv.

    split: which file of qrels/ has the judgments; queries it does not judge are left out
    name: what results call the collection; default the folder's name

    Raises DataError that names the file, the line and the fault.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give one with corpus.jsonl, queries.jsonl and qrels/")
    judgments = folder / "qrels" / f"{split}.tsv"
    if not judgments.is_file():
        splits = ", ".join(sorted(file.stem for file in judgments.parent.glob("*.tsv"))) or "none"
        raise DataError(f"no judgments {judgments}; splits in {judgments.parent}: {splits}")
    corpus = FileCorpus(folder / "corpus.jsonl")
    queries = read_queries(folder / "queries.jsonl")
    return judged(
        name or folder.resolve().name,
        f"local collection {folder}, judgments of qrels/{split}.tsv",
        corpus,
        queries,
        read_judgments(judgments, queries, corpus.doc_ids),
    )


def load_files(name: str, corpus: Path, queries: Path, qrels: Path) -> Dataset:
    """Read and check a collection from three files of any source.

    name: what results call the collection
    corpus, queries: JSON lines or tab-separated, as ``read_records`` reads
    qrels: TREC (query_id 0 doc_id grade) or BEIR (query-id, corpus-id, score between tabs)

    Raises DataError that names the file, the line and the fault.
    """
    documents = FileCorpus(corpus)
    texts = read_queries(queries)
    grades = read_judgments(qrels, texts, documents.doc_ids, is_trec=True)
    return judged(name, f"local files {corpus}, {queries} and {qrels}", documents, texts, grades)


def judged(
    name: str, description: str, corpus: Corpus, queries: Mapping[str, str], qrels: Qrels
) -> Dataset:
    """A data set with those of the queries that are judged."""
    kept = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    return Dataset(name, description, corpus, kept, qrels)
