"""The model that colmodern brings along: found by its name, of its size, and of use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import colmodern
from colmodern import Encoder
from colmodern.encoder.checkpoint.locate import TINY, locate

FOLDER = Path(colmodern.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    return Encoder.from_pretrained(TINY)


def test_its_name_is_the_packages_folder_wherever_it_is_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / TINY).mkdir(parents=True)  # a folder that only happens to have the name
    monkeypatch.chdir(tmp_path)
    assert locate(TINY, None, with_code=False) == (FOLDER, None)


def test_it_is_small_and_has_layers_of_both_kinds() -> None:
    size = sum(file.stat().st_size for file in FOLDER.rglob("*.safetensors"))
    assert size <= 12_000_000
    config = json.loads((FOLDER / "config.json").read_text("utf-8"))
    assert config["model_type"] == "modernbert"
    assert config["num_hidden_layers"] > config["global_attn_every_n_layers"] == 3
    assert config["max_position_embeddings"] >= 2048


def test_every_file_of_it_is_package_data() -> None:
    suffixes = {file.suffix for file in FOLDER.rglob("*") if file.is_file()}
    assert suffixes == {".json", ".safetensors", ".md"}


def test_it_knows_what_words_mean(tiny: Encoder) -> None:
    documents = [
        "Physicians treat high blood pressure with drugs and a change of diet.",
        "The wing of an aircraft makes lift when air flows around it.",
        "The file is compressed before it is sent over the network.",
    ]
    queries = ["medicine for hypertension", "how planes fly", "zip archive for transmission"]
    found = tiny.encode_documents(documents)
    for i, query in enumerate(tiny.encode_queries(queries)):
        scores = [float((query @ document.T).max(1).sum()) for document in found]
        assert int(np.argmax(scores)) == i, (queries[i], scores)


def test_it_reads_2048_tokens(tiny: Encoder) -> None:
    [rows] = tiny.encode_documents(["a word " * 3000])
    assert len(rows) == 2048
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
