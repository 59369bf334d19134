"""Any order of changes leaves what a dict would hold."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from colmodern import Collection, Encoder
from colmodern.collection import encoded, texts
from colmodern.encoder.passages import tokenize_passages
from colmodern.passages import passage_ids
from colmodern.types import PassageRank

ENCODER = Encoder.from_pretrained("colmodern/tiny", device="cpu")
SPLIT = ENCODER.with_settings(overflow="split", document_length=8, overlap=1)
IDS = st.sampled_from([f"d{i}" for i in range(8)])
TEXTS = st.text(st.sampled_from("ab é日\n"), max_size=12)
DOCUMENTS = st.dictionaries(IDS, st.tuples(TEXTS, TEXTS), min_size=1, max_size=4)


class CollectionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.expected: dict[str, tuple[str, str]] = {}

    @initialize(
        block=st.sampled_from([1, 1 << 15]),
        in_memory=st.sampled_from([2, 64]),
        passages=st.sampled_from([None, "best", "sum"]),
    )
    def create(self, block: int, in_memory: int, passages: PassageRank | None) -> None:
        self.restored = texts._BLOCK, encoded._IN_MEMORY
        texts._BLOCK, encoded._IN_MEMORY = block, in_memory
        self.encoder = ENCODER if passages is None else SPLIT
        self.collection = Collection.create(
            self.folder / "c", self.encoder, passages=passages, device="cpu"
        )

    @rule(documents=DOCUMENTS)
    def add(self, documents: dict[str, tuple[str, str]]) -> None:
        new = {k: v for k, v in documents.items() if k not in self.expected}
        self.collection.add(_records(new))
        self.expected |= new

    @rule(documents=DOCUMENTS)
    def update(self, documents: dict[str, tuple[str, str]]) -> None:
        self.collection.update(_records(documents))
        self.expected = {k: v for k, v in self.expected.items() if k not in documents} | documents

    @rule(ids=st.sets(IDS))
    def delete(self, ids: set[str]) -> None:
        there = ids & self.expected.keys()
        assert self.collection.delete(there) == len(there)
        self.expected = {k: v for k, v in self.expected.items() if k not in there}

    @rule()
    def compact(self) -> None:
        self.collection.compact()

    @rule()
    def rebuild(self) -> None:
        self.collection.rebuild()

    @rule()
    def open_again(self) -> None:
        self.collection = Collection.open(self.folder / "c", encoder=self.encoder, device="cpu")
        self.collection.check()

    @invariant()
    def it_holds_what_a_dict_would(self) -> None:
        if not hasattr(self, "collection"):
            return
        stored = {d.doc_id: (d.title, d.text) for d in self.collection.get(list(self.collection))}
        assert list(stored.items()) == list(self.expected.items())
        hits = self.collection.search("a é", k=20)
        assert {hit.doc_id: (hit.title, hit.text) for hit in hits} == self.expected
        state = self.collection._state
        if state.manifest.passages is not None and state.index is not None and stored:
            contents = self.collection.model_texts(_records(self.expected))
            counts = np.diff(tokenize_passages(self.encoder, contents).offsets).tolist()
            assert sorted(state.index.doc_ids) == sorted(passage_ids(self.expected, counts))

    def teardown(self) -> None:
        texts._BLOCK, encoded._IN_MEMORY = self.restored
        shutil.rmtree(self.folder)


def _records(documents: dict[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"id": k, "title": title, "text": text} for k, (title, text) in documents.items()]


CollectionMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=10)
test_a_collection_holds_what_a_dict_would = CollectionMachine.TestCase
