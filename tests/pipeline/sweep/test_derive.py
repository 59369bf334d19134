"""Cut and pooled embeddings against those of encoding again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import DOCUMENTS

from colmodern.encoder.encoder import Encoder
from colmodern.encoding.store import encode_corpus
from colmodern.errors import StorageError
from colmodern.pipeline.sweep.derive import CUT_DOCUMENTS, cut_documents, derive
from colmodern.pipeline.sweep.points import Variant
from colmodern.progress import Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Document

LONG = 40
TITLES = {"join_titles": True, "title_separator": " "}


class Texts(list):
    """A corpus in memory."""

    fingerprint = "texts"


CORPUS = Texts(Document(f"d{i}", text) for i, text in enumerate([*DOCUMENTS, *DOCUMENTS[:2]]))


def encoder_of(checkpoint: Path, **settings: object) -> Encoder:
    return Encoder.from_pretrained(checkpoint, device="cpu", document_length=LONG, **settings)


def encoded(encoder: Encoder, folder: Path) -> EmbeddingStore:
    store, _ = encode_corpus(
        CORPUS, encoder, folder, dtype="float32", shard_tokens=30, progress=Silent(), **TITLES
    )
    assert len(store.shards) > 2
    return store


def derived(
    store: EmbeddingStore, encoder: Encoder, folder: Path, variant: Variant
) -> EmbeddingStore:
    return derive(store, folder, variant, encoder, CORPUS, progress=Silent(), **TITLES)


@pytest.mark.parametrize(
    "settings", [{}, {"overflow": "split", "document_length": 16, "overlap": 4}]
)
@pytest.mark.parametrize("length", [6, 12, 30])
def test_a_cut_document_has_the_tokens_of_one_encoded_at_that_length(
    pylate_bert: Path, tmp_path: Path, length: int, settings: dict
) -> None:
    encoder = encoder_of(pylate_bert)
    if settings:
        encoder = encoder.with_settings(**{**encoder.settings.as_overrides(), **settings})
    store = encoded(encoder, tmp_path / "long")
    cut = derived(
        store,
        encoder,
        tmp_path / "cut",
        Variant(encoder.settings.document_length, length, 1),
    )
    short = encoder.with_settings(
        **{**encoder.settings.as_overrides(), "document_length": length, "overflow": "truncate"}
    ).encode_documents([document.text for document in CORPUS])
    found, whole = cut.to_memory(), store.to_memory()
    assert cut.doc_ids == store.doc_ids
    assert np.array_equal(found.offsets, short.offsets)
    assert np.array_equal(found.token_ids, short.token_ids)
    is_cut = found.lengths < whole.lengths
    assert is_cut.any()
    assert cut.manifest["facts"][CUT_DOCUMENTS] == is_cut.sum()
    differences = []
    for i in range(found.n_docs):
        if not is_cut[i]:
            assert np.array_equal(found[i], whole[i])  # nothing was cut: nothing changes
        elif len(found[i]):
            differences.append(float(np.abs(found[i] - short[i]).max()))
    # what a cut embedding saw of the rest of its text is in it: near, and not the same
    assert 1e-4 < max(differences) < 2


def test_documents_that_fit_are_exactly_those_encoded_at_that_length(
    pylate_bert: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(pylate_bert)
    store = encoded(encoder, tmp_path / "long")
    cut = derived(store, encoder, tmp_path / "cut", Variant(LONG, 20, 1)).to_memory()
    short = encoder.with_settings(**{**encoder.settings.as_overrides(), "document_length": 20})
    again = short.encode_documents([document.text for document in CORPUS])
    fits = cut.lengths == store.to_memory().lengths
    assert 0 < fits.sum() < len(fits)
    for i in np.flatnonzero(fits):
        assert cut[i] == pytest.approx(again[i], abs=1e-5)  # batches of other sizes round


@pytest.mark.parametrize("factor", [2, 3])
def test_pooling_stored_embeddings_is_that_of_the_encoder(
    pylate_bert: Path, tmp_path: Path, factor: int
) -> None:
    encoder = encoder_of(pylate_bert)
    pooling = encoder.with_settings(
        **{**encoder.settings.as_overrides(), "pool_factor": factor, "protected_tokens": 2}
    )
    store = encoded(encoder, tmp_path / "long")
    found = derived(store, pooling, tmp_path / "pooled", Variant(LONG, LONG, factor))
    at_once = encoded(pooling, tmp_path / "at-once")
    assert found.n_tokens < store.n_tokens
    assert [s.values.tobytes() for s in found.shards] == [
        s.values.tobytes() for s in at_once.shards
    ]
    assert found.manifest["fingerprint"] != at_once.manifest["fingerprint"]


def test_it_goes_on_after_the_last_finished_shard(
    pylate_bert: Path, tmp_path: Path, monkeypatch
) -> None:
    encoder = encoder_of(pylate_bert)
    store = encoded(encoder, tmp_path / "long")
    variant = Variant(LONG, 10, 2)
    whole = derived(store, encoder, tmp_path / "whole", variant)

    class Broken(Silent):
        def advance(self, n: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        derive(store, tmp_path / "cut", variant, encoder, CORPUS, progress=Broken(), **TITLES)
    [first] = [path for path in (tmp_path / "cut").iterdir() if path.name.startswith("shard")]
    stamp = (first / "shard.json").stat().st_mtime_ns
    again = derived(store, encoder, tmp_path / "cut", variant)
    assert (first / "shard.json").stat().st_mtime_ns == stamp
    for one, other in zip(again.manifest["shards"], whole.manifest["shards"], strict=True):
        assert one["sha256"] == other["sha256"]


def test_other_texts_are_refused(pylate_bert: Path, tmp_path: Path) -> None:
    encoder = encoder_of(pylate_bert)
    store = encoded(encoder, tmp_path / "long")
    short = encoder.tokenizer.with_settings(replace(encoder.settings, document_length=10))
    texts = ["sort the list"] * store.shards[0].n_docs
    with pytest.raises(StorageError, match="are not those of its text"):
        cut_documents(store.shards[0], texts, short)
    other = Texts([Document("x", "sort"), *CORPUS[1:]])
    with pytest.raises(StorageError, match="made from another corpus"):
        derive(
            store,
            tmp_path / "cut",
            Variant(LONG, 10, 1),
            encoder,
            other,
            progress=Silent(),
            **TITLES,
        )
