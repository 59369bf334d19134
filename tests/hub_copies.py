"""Small repositories in the layouts that retrieval sets have on the hub, written to disk.

Read back with the real `datasets` library, as the repositories themselves would be.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from conftest import write_jsonl

Rows = list[dict]
# config -> split -> rows
Repository = dict[str, dict[str, Rows]]

DOCUMENTS = [
    {"_id": "d1", "title": "Dates", "text": "parse a date string, read the number of the day"},
    {"_id": "d2", "title": "", "text": "the lift of a wing in the flow"},
    {"_id": "q3", "title": "", "text": "read a file"},
    {"_id": "d4", "title": "Files", "text": "open the file and read the value"},
    {"_id": "d5", "title": "No text", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "how to parse a date"},
    {"_id": "q2", "text": "wing lift"},
    {"_id": "q3", "text": "read a file"},
    {"_id": "q4", "text": "a query that nobody judged"},
]
JUDGMENTS = [
    {"query-id": "q1", "corpus-id": "d1", "score": 2},
    {"query-id": "q2", "corpus-id": "d2", "score": 1},
    {"query-id": "q3", "corpus-id": "d4", "score": 1},
]
# the name of a repository, as in sets.json -> what is in it
BEIR: Repository = {
    "corpus": {"corpus": DOCUMENTS},
    "queries": {"queries": QUERIES},
    "default": {"train": [{**JUDGMENTS[0], "corpus-id": "d5"}], "test": JUDGMENTS},
}
MSMARCO: Repository = {
    **BEIR,
    "default": {
        "train": [{"query-id": "q4", "corpus-id": "d5", "score": 1}],
        "dev": JUDGMENTS[:2],
        "test": JUDGMENTS,
    },
}
NANO: Repository = {  # no titles and no scores; every split is called train
    "corpus": {"train": [{k: row[k] for k in ("_id", "text")} for row in DOCUMENTS]},
    "queries": {"train": QUERIES},
    "qrels": {
        "train": [{k: row[k] for k in ("query-id", "corpus-id")} for row in JUDGMENTS],
    },
}


def multilingual(language: str) -> Repository:
    """MLDR: a language before the names, a split of queries and judgments for each of dev and test."""
    documents = [{"id": f"{language}-{row['_id']}", "text": row["text"]} for row in DOCUMENTS]
    queries = [{"id": row["_id"], "text": f"{language} {row['text']}"} for row in QUERIES]
    judged = [{**row, "corpus-id": f"{language}-{row['corpus-id']}"} for row in JUDGMENTS]
    return {
        f"{language}-corpus": {"dev": documents, "test": documents},
        f"{language}-queries": {"dev": queries[:1], "test": queries},
        f"{language}-qrels": {"dev": judged[:1], "test": judged},
    }


def with_prefix(prefix: str, split: str, repository: Repository = BEIR) -> Repository:
    """A repository with a subset before the names of its configs: MIRACL, LoTTE, CoIR, NanoBEIR."""
    return {
        f"{prefix}-corpus": {"corpus": repository["corpus"]["corpus"]},
        f"{prefix}-queries": {"queries": repository["queries"]["queries"]},
        f"{prefix}-qrels": {split: repository["default"]["test"]},
    }


def bright(*domains: str) -> Repository:
    """BRIGHT: a split for each domain; judgments and excluded documents stand beside the queries."""
    examples = [
        {
            "query": row["text"],
            "reasoning": "",
            "id": row["_id"],
            "excluded_ids": ["d4", "d5"] if row["_id"] == "q1" else ["N/A"],
            "gold_ids_long": ["page1"] if row["_id"] == "q1" else ["N/A"],
            "gold_ids": {"q1": ["d1", "d2"], "q2": ["d2"]}.get(row["_id"], ["N/A"]),
            "gold_answer": "",
        }
        for row in QUERIES
    ]
    documents = [{"id": row["_id"], "content": row["text"]} for row in DOCUMENTS]
    pages = [{"id": "page1", "content": " ".join(row["text"] for row in DOCUMENTS)}]
    return {
        "documents": dict.fromkeys(domains, documents),
        "examples": dict.fromkeys(domains, examples),
        "long_documents": {domains[0]: pages},
    }


def longembed(*lengths: int) -> Repository:
    """LongEmbed's own repository: a config a set, corpus, queries and qrels are its splits."""
    plain = {
        "corpus": [{"doc_id": row["_id"], "text": row["text"]} for row in DOCUMENTS[:4]],
        "queries": [{"qid": row["_id"], "text": row["text"]} for row in QUERIES[:2]],
        "qrels": [{"qid": "q1", "doc_id": "d1"}, {"qid": "q2", "doc_id": "d2"}],
    }
    of_lengths: dict[str, Rows] = {subset: [] for subset in plain}
    for subset, records in plain.items():
        for length in lengths:
            named = [
                {k: f"{v}-{length}" if k in ("qid", "doc_id") else v for k, v in row.items()}
                for row in records
            ]
            of_lengths[subset] += [{**row, "context_length": length} for row in named]
    return {"qmsum": plain, "needle": of_lengths}


def write_repository(folder: Path, configs: Repository, form: str = "jsonl") -> Path:
    """Write the files of a repository and the README that says which file is what.

    form: "jsonl" or "parquet"
    """
    entries = []
    for config, splits in configs.items():
        files = []
        for split, records in splits.items():
            path = folder / config / f"{split}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if form == "jsonl":
                write_jsonl(path, records)
            else:
                import pyarrow
                from pyarrow import parquet

                parquet.write_table(pyarrow.Table.from_pylist(records), path)
            files.append({"split": split, "path": f"{config}/{split}.{form}"})
        entries.append({"config_name": config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': entries})}---\n")
    return folder
