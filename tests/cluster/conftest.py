"""Fixtures of a cluster of three nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from cluster.nodes import N_DOCS, Nodes, encoded

from colmodern import Encoder
from colmodern.datasets.load import load_corpus
from colmodern.datasets.stdlib import _items
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Corpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need Ray, whose own warnings are not errors."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


@pytest.fixture(scope="session")
def running() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.stop()


@pytest.fixture
def nodes(running: Nodes) -> Nodes:
    """The cluster with all of its nodes, whatever the test before did to it."""
    running.complete()
    return running


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The first documents of the built-in set."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    with path.open("w") as stream:
        for item in islice(_items(), N_DOCS):
            stream.write(json.dumps({"_id": item.doc_id, "text": item.body}) + "\n")
    return load_corpus(str(path))


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


@pytest.fixture(scope="session")
def store(
    corpus: Corpus, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> EmbeddingStore:
    """The embeddings of the corpus, made by this process."""
    folder = tmp_path_factory.mktemp("store") / "store"
    return encoded(corpus, encoder, folder)
