"""Fixtures that several folders share. Nothing here needs a network, a GPU or downloaded weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that reaches for the hub should fail, not wait
# and one that searches should test the compiled kernels, also in processes that it starts
os.environ["COLMODERN_WHILE_COMPILING"] = "wait"

import checkpoints
from hypothesis import settings

from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of

if os.environ.get("TRITON_INTERPRET") == "1":
    from kernels.interpreter import prepare_interpreter

    prepare_interpreter()

# the same examples in every run, and no clock: machines that run tests are busy
settings.register_profile("colmodern", deadline=None, derandomize=True)
settings.load_profile("colmodern")

# largest difference from the float32 reference of a MaxSim score of up to 64 query tokens
SCORE_TOLERANCE = {"float32": 2e-5, "float16": 5e-2}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the files of checks.py with ``gpu`` where nothing interprets their kernels."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        for item in items:
            if item.path.name.startswith("check_"):
                item.add_marker(pytest.mark.gpu)


def unit_rows(lengths: list[int], dim: int, seed: int, dtype: str = "float32") -> TokenEmbeddings:
    """Random unit rows with these many tokens a text."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(sum(lengths), dim)).astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    ids = rng.integers(0, 1000, sum(lengths)).astype(np.int32)
    return TokenEmbeddings(values.astype(dtype), offsets_of(lengths), ids)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny plain BERT checkpoint."""
    return checkpoints.plain(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="session")
def modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny plain ModernBERT checkpoint, whose positions reach 8,192."""
    return checkpoints.plain(tmp_path_factory.mktemp("modernbert"), "modernbert")


@pytest.fixture(scope="session")
def pylate_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny PyLate checkpoint: markers, expansion, punctuation skiplist."""
    return checkpoints.pylate(tmp_path_factory.mktemp("pylate"), "bert")


CORPUS = [
    {"_id": "d1", "title": "Dates", "text": "parse a date string, read the number of the day"},
    {"_id": "d2", "title": "", "text": "the lift of a wing in the flow"},
    {
        "_id": "d3",
        "title": "Files",
        "text": "open the file and read the value. then close the file",
    },
    {"_id": "d4", "title": "", "text": "sort the list of names"},
    {"_id": "d5", "title": "Empty", "text": ""},
    {"_id": "d6", "title": "", "text": "heat and speed, heat and speed, " * 20},
]
QUERIES = [
    {"_id": "q1", "text": "how to parse a date"},
    {"_id": "q2", "text": "wing lift"},
    {"_id": "q3", "text": "read a file"},
    {"_id": "q4", "text": "a query that nobody judged"},
]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q2\td2\t1", "q2\td6\t0", "q3\td3\t1"]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A small collection in the BEIR layout."""
    return write_beir(tmp_path / "small")


def write_beir(
    folder: Path,
    corpus: list[dict] | None = None,
    queries: list[dict] | None = None,
    qrels: list[str] | None = None,
) -> Path:
    """Write a collection; what is not given is the small one above."""
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", CORPUS if corpus is None else corpus)
    write_jsonl(folder / "queries.jsonl", QUERIES if queries is None else queries)
    (folder / "qrels" / "test.tsv").write_text("\n".join(QRELS if qrels is None else qrels) + "\n")
    return folder


def write_jsonl(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def eval_config(tmp_path: Path, beir: Path, pylate_bert: Path) -> Callable[..., Path]:
    """Writes a config of the small collection and the tiny PyLate checkpoint."""

    def write(name: str = "small", extra: str = "") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"dataset: {{name: {beir}}}\nencoder: {{model: {pylate_bert}}}\n"
            f"output: {tmp_path / 'runs'}\n{extra}"
        )
        return path

    return write
