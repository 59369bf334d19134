"""Wrong values for every argument of the public classes: an answer, or an error that names it."""

from __future__ import annotations

import collections
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import unit_rows

from colmodern import (
    ColmodernError,
    EmbeddingStore,
    ExactIndex,
    PlaidIndex,
    TokenEmbeddings,
    evaluate,
    load_dataset,
)

IDS = [f"d{i}" for i in range(6)]


class Hostile:
    """What raises an error of its own wherever it is looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __getitem__(self, key: object) -> Any:
        raise RuntimeError("no item")

    def __len__(self) -> int:
        raise RuntimeError("no len")

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no array")


def wrong_values() -> list[Any]:
    rows = np.ones((2, 8), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(1, 8)])
    numbers = [None, True, 0, -1, 2.5, float("nan"), 10**400, np.float32(2), np.array(3), 1j]
    texts = ["", "x" * 5000, "a\0b", "\ud800", "\x1b[2J", b"d1", "nope"]
    others = [Hostile(), object(), len, slice(None), range(0), np.datetime64("2020-01-01")]
    lists = [[], [None], [[]], {"year": 1953}, {"d1"}, iter([0.5]), collections.deque([1])]
    arrays = [rows, rows[None], rows[0], rows > 0, rows.astype(str), np.array([rows, None], object)]
    tensors = [torch.ones(2, 8).to("meta"), torch.ones(2, 8).to_sparse(), nested, torch.tensor(3.0)]
    return numbers + texts + others + lists + arrays + tensors


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[Any], object]]:
    """What is called with a wrong value, by name; none of them changes the index."""
    folder = tmp_path_factory.mktemp("misuse")
    texts = unit_rows([3, 1, 4, 2, 5, 2], dim=8, seed=1)
    query = texts[0]
    store = EmbeddingStore.write(folder / "store", texts, IDS)
    plaid = PlaidIndex.build(texts, folder / "index", IDS)
    path = folder / "index"
    made: dict[str, Callable[[Any], object]] = {
        "PlaidIndex.load": PlaidIndex.load,
        "PlaidIndex.check": PlaidIndex.check,
        "PlaidIndex.explain": lambda value: plaid.explain(query, value),
        "PlaidIndex.filter": plaid.filter,
        "PlaidIndex.delete": plaid.delete,
        "PlaidIndex.add": plaid.add,
        "PlaidIndex.add ids": lambda value: plaid.add(texts, value),
        "PlaidIndex.build": lambda value: PlaidIndex.build(value, folder / "no"),
        "PlaidIndex.build path": lambda value: PlaidIndex.build(texts[:0], value),
        "TokenEmbeddings": lambda value: TokenEmbeddings(value, [0, 2]),
        "TokenEmbeddings offsets": lambda value: TokenEmbeddings(query, value),
        "TokenEmbeddings.select": texts.select,
        "TokenEmbeddings.from_list": TokenEmbeddings.from_list,
        "TokenEmbeddings.item": texts.__getitem__,
        "TokenEmbeddings.chunks": lambda value: texts.chunks(value),
        "EmbeddingStore": EmbeddingStore,
        "EmbeddingStore.select": store.select,
        "EmbeddingStore.chunks": lambda value: store.chunks(3, value),
        "EmbeddingStore.verify_documents": store.verify_documents,
        "ExactIndex": ExactIndex,
        "evaluate": lambda value: evaluate(value, {"q": {"d": 1}}),
        "evaluate qrels": lambda value: evaluate({"q": {"d": 1.0}}, value),
        "evaluate measures": lambda value: evaluate({"q": {"d": 1.0}}, {"q": {"d": 1}}, value),
        "load_dataset": load_dataset,
        "load_dataset queries": lambda value: load_dataset("nope", max_queries=value),
        "load_dataset files": lambda value: load_dataset("nope", files=value),
    }
    for name in (
        "query",
        "k",
        "nprobe",
        "n_candidates",
        "filter",
        "rescore",
        "fingerprint",
        "exact",
    ):
        made[f"PlaidIndex.search {name}"] = lambda value, name=name: plaid.search(
            **{"query": query, name: value}
        )
    for name in (
        "nbits",
        "n_centroids",
        "seed",
        "max_memory",
        "codec",
        "overwrite",
        "durable",
        "device",
    ):
        made[f"PlaidIndex.build {name}"] = lambda value, name=name: PlaidIndex.build(
            texts, path, **{name: value}
        )
    for name in ("n_threads", "device", "device_max_memory", "verify"):
        made[f"PlaidIndex.load {name}"] = lambda value, name=name: PlaidIndex.load(
            path, **{name: value}
        )
    for name in ("dtype", "shard_tokens", "encoder", "overwrite", "progress"):
        made[f"EmbeddingStore.write {name}"] = lambda value, name=name: EmbeddingStore.write(
            store.folder, texts, IDS, **{name: value}
        )
    for name in ("max_memory", "device", "device_max_memory", "precision", "doc_ids"):
        made[f"ExactIndex {name}"] = lambda value, name=name: ExactIndex(texts, **{name: value})
    return made


def test_every_wrong_value_is_answered_or_refused_in_words(
    calls: dict[str, Callable[[Any], object]],
) -> None:
    n_refused = 0
    for name, call in calls.items():
        for value in wrong_values():
            try:
                call(value)
            except ColmodernError as error:
                message = str(error)
                n_refused += 1
            except Exception as error:
                pytest.fail(f"{name} of {type(value)}: {type(error).__name__}")
            else:
                continue
            assert len(message) < 700, (name, message)
            assert message.replace("\n", "").isprintable(), (name, message)
    assert n_refused > 1000
    assert len(calls) > 50


def test_paths_may_be_of_any_library(tmp_path: Path) -> None:
    texts = unit_rows([2, 2], dim=8, seed=1)
    texts.save(np.str_(tmp_path / "store"))
    assert (
        len(PlaidIndex.build(tmp_path / "store", np.str_(tmp_path / "index")).search(texts[0])) == 2
    )
