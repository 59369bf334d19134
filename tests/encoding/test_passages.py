"""Stores of passages: the same as in memory, also after an interruption and from several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colmodern import EmbeddingStore, Encoder, encode_passages
from colmodern.encoding.store import encode_to_store
from colmodern.errors import ConfigError
from colmodern.progress import Silent

TEXTS = [(f"d#{i}", "read the file and sort the list of names. " * (i * 7 % 5)) for i in range(40)]
IDS = [text_id for text_id, _ in TEXTS]


class Watch(Silent):
    """Counts texts, and stops when a number of them is done."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.done, self.most = 0, most

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self.done = done

    def advance(self, n: int) -> None:
        self.done += n
        if self.done >= self.most:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def encoder(pylate_bert: Path) -> Encoder:
    return Encoder.from_pretrained(pylate_bert, document_length=16, overflow="split", overlap=2)


def encode(
    encoder: Encoder, folder: Path, progress: Watch | None = None, devices: tuple[str, ...] = ()
) -> EmbeddingStore:
    return encode_to_store(
        iter(TEXTS), len(TEXTS), encoder, folder, role="document", fingerprint="f",
        dtype="float32", shard_tokens=100, progress=progress or Watch(), devices=devices,
        passages=True,
    )[0]  # fmt: skip


def checksums(store: EmbeddingStore) -> list[dict[str, str]]:
    return [shard["sha256"] for shard in store.manifest["shards"]]


def test_a_store_has_the_passages_that_memory_has(encoder: Encoder, tmp_path: Path) -> None:
    progress = Watch()
    store = encode(encoder, tmp_path / "store", progress)
    embeddings, ids = encode_passages(encoder, [text for _, text in TEXTS], IDS)
    assert store.has_passages
    assert EmbeddingStore(store.folder).has_passages
    assert store.doc_ids == ids
    assert store.n_docs > len(TEXTS)
    np.testing.assert_allclose(store.to_memory().values, embeddings.values, atol=2e-5)
    assert progress.done == len(TEXTS)
    facts = store.manifest["facts"]
    assert facts["n_texts"] == len(TEXTS)
    assert facts["n_windows"] == store.n_docs


def test_an_interrupted_encoding_resumes_after_its_last_text(
    encoder: Encoder, tmp_path: Path
) -> None:
    whole = encode(encoder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        encode(encoder, tmp_path / "store", Watch(20))
    finished = len(list((tmp_path / "store").glob("shard-*")))
    assert 0 < finished < len(checksums(whole))
    progress = Watch()
    store = encode(encoder, tmp_path / "store", progress)
    assert progress.done == len(TEXTS)
    assert checksums(store) == checksums(whole)


def test_a_damaged_shard_is_encoded_again_and_those_after_it_are_kept(
    encoder: Encoder, tmp_path: Path
) -> None:
    whole = encode(encoder, tmp_path / "store")
    (tmp_path / "store" / "manifest.json").unlink()
    shards = sorted((tmp_path / "store").glob("shard-*"))
    (shards[1] / "values.npy").write_bytes(b"damaged")
    kept = [(shard / "shard.json").stat().st_mtime_ns for shard in shards[2:]]
    assert kept
    assert checksums(encode(encoder, tmp_path / "store")) == checksums(whole)
    assert [(shard / "shard.json").stat().st_mtime_ns for shard in shards[2:]] == kept


@pytest.mark.slow
def test_several_processes_write_the_same_bytes(encoder: Encoder, tmp_path: Path) -> None:
    one, two = (
        encode(encoder, tmp_path / name, devices=devices)
        for name, devices in (("one", ()), ("two", ("cpu", "cpu")))
    )
    assert checksums(two) == checksums(one)
    assert two.has_passages


def test_an_encoder_that_cuts_is_refused_before_anything_is_written(
    pylate_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="so that they have no passages; set overflow to split"):
        encode(Encoder.from_pretrained(pylate_bert), tmp_path / "store")
    assert not (tmp_path / "store").exists()
