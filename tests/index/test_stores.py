"""Indexes in other processes: by settings and path, with the same results."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows

from colmodern import ExactIndex
from colmodern.errors import StorageError
from colmodern.ragged.store import EmbeddingStore, ShardWriter

DOCUMENTS = unit_rows([30] * 200, 64, seed=1)
QUERIES = unit_rows([4, 9, 0], 64, seed=2)
NAMES = [f"d{i * 7 % 200}" for i in range(200)]


def write(folder: Path, seed: int = 1) -> Path:
    writer = ShardWriter(folder, fingerprint="x", dtype="float16")
    documents = unit_rows([30] * 200, 64, seed)
    writer.add(documents[:90], NAMES[:90])
    writer.add(documents[90:], NAMES[90:])
    writer.finish()
    return folder


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_pickled_index_of_memory_finds_the_same(precision) -> None:
    index = ExactIndex(DOCUMENTS, NAMES, precision=precision, max_memory="100M")
    expected = index.search_batch(QUERIES, 5)
    restored = pickle.loads(pickle.dumps(index))
    assert restored.search_batch(QUERIES, 5) == expected
    assert (restored.precision, restored.doc_ids) == (precision, NAMES)


def test_a_pickled_index_of_a_store_is_its_path_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    index = ExactIndex.load("store")
    expected = index.search_batch(QUERIES, 5)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickled = pickle.dumps(index)
    assert len(pickled) < 2_000  # neither values nor ids
    assert pickle.loads(pickled).search_batch(QUERIES, 5) == expected


def test_a_store_opened_before_the_process_went_elsewhere_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    store = EmbeddingStore("store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    index = ExactIndex(store, store.doc_ids)
    restored = pickle.loads(pickle.dumps(index))
    assert restored.search_batch(QUERIES, 5) == index.search_batch(QUERIES, 5)


def test_ids_of_ones_own_are_pickled_beside_the_path(tmp_path: Path) -> None:
    index = ExactIndex.load(write(tmp_path / "store"))
    others = ExactIndex(index.embeddings, NAMES[::-1])
    assert pickle.loads(pickle.dumps(others)).doc_ids == NAMES[::-1]


def test_a_store_that_was_written_anew_or_is_gone_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "store")
    pickled = pickle.dumps(ExactIndex.load(folder))
    folder.rename(tmp_path / "old")
    with pytest.raises(StorageError, match="store"):
        pickle.loads(pickled)
    write(folder, seed=3)
    with pytest.raises(StorageError, match="was written again since"):
        pickle.loads(pickled)


@pytest.mark.slow
def test_a_spawned_process_finds_the_same(tmp_path: Path) -> None:
    index = ExactIndex.load(write(tmp_path / "store"))
    query = np.asarray(QUERIES[1])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(index.search, query, 5).result() == index.search(query, 5)
