from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import checkpoints
import numpy as np
import pytest

from colmodern import Encoder
from colmodern.errors import CheckpointError

TEXTS = checkpoints.DOCUMENTS


def encode(encoder: Encoder) -> np.ndarray:
    """Work of another process."""
    return encoder.encode_documents(TEXTS).values


@pytest.mark.parametrize(
    ("library", "name", "options"),
    [
        ("pylate", "bert", {"query_length": 20, "skiplist": [], "document_marker": ""}),
        ("pylate", "modernbert", {"overflow": "split", "pool_factor": 1.5, "max_memory": "200M"}),
        ("stanford", "modernbert", {"attention": "sdpa", "dtype": "bfloat16"}),
        ("sentence_transformers", "bert-min", {}),
    ],
)
def test_a_pickled_encoder_gives_the_same_embeddings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    name: str,
    options: dict,
) -> None:
    checkpoints.write(library, name, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    encoder = Encoder.from_pretrained("model", **options)
    pickled = pickle.dumps(encoder)
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert len(pickled) < 5_000
    np.testing.assert_array_equal(encode(again), encode(encoder))
    np.testing.assert_array_equal(
        again.encode_queries(checkpoints.QUERIES).values,
        encoder.encode_queries(checkpoints.QUERIES).values,
    )
    assert (again.settings, again.max_memory) == (encoder.settings, encoder.max_memory)


def test_a_new_projection_and_other_settings_of_the_same_model_are_pickled(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert, projection_dim=4, seed=3)
    other = encoder.with_settings(query_length=7)
    for original in (encoder, other):
        again = pickle.loads(pickle.dumps(original))
        assert again.describe() == original.describe()
        np.testing.assert_array_equal(encode(again), encode(original))


def test_the_packaged_model_is_pickled_by_its_name() -> None:
    encoder = Encoder.from_pretrained("colmodern/tiny")
    again = pickle.loads(pickle.dumps(encoder))
    assert again.checkpoint.name == "colmodern/tiny"
    np.testing.assert_array_equal(encode(again), encode(encoder))


def test_a_checkpoint_saved_anew_is_not_unpickled_as_the_old(tmp_path: Path) -> None:
    folder = checkpoints.pylate(tmp_path / "model", "bert")
    pickled = pickle.dumps(Encoder.from_pretrained(folder))
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": None}))
    with pytest.raises(CheckpointError, match="was saved anew since this encoder was pickled"):
        pickle.loads(pickled)


def test_a_copy_shares_the_model(bert: Path) -> None:
    encoder = Encoder.from_pretrained(bert)
    assert copy.copy(encoder)._model is encoder._model


@pytest.mark.slow
def test_a_spawned_process_takes_an_encoder(pylate_bert: Path) -> None:
    encoder = Encoder.from_pretrained(pylate_bert)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        np.testing.assert_array_equal(pool.submit(encode, encoder).result(), encode(encoder))
