from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch

from colmodern import Encoder
from colmodern.encoder.checkpoint.checkpoint import read_checkpoint
from colmodern.encoder.checkpoint.projection import Layer, Projection
from colmodern.encoder.text.tokenized import TokenizedTexts
from colmodern.errors import CheckpointError


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("tokenizer_config.json", "model_max_length", "long"),
        ("tokenizer_config.json", "model_max_length", float("inf")),
        ("sentence_bert_config.json", "query_expansion", 5),
        ("sentence_bert_config.json", "max_seq_length", [64]),
        ("2_MultiVectorMask/config.json", "skiplist_words", 0.5),
        ("2_MultiVectorMask/config.json", "skiplist_tasks", True),
        ("config_sentence_transformers.json", "prompts", ["find"]),
        ("config.json", "max_position_embeddings", "\x85"),
    ],
)
def test_a_field_of_a_wrong_type_is_named_with_its_file(
    tmp_path: Path, file: str, field: str, value: object
) -> None:
    folder = checkpoints.write("sentence_transformers", "bert-min", tmp_path)
    change(folder / file, **{field: value})
    if field == "model_max_length":
        change(folder / "sentence_bert_config.json", max_seq_length=None)
    with pytest.raises(CheckpointError, match=rf"{file}: {field} is .*fetch the checkpoint again"):
        read_checkpoint(folder)


def test_an_infinite_position_of_a_module_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.write("sentence_transformers", "bert-min", tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["idx"] = float("inf")
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"modules\.json is not a list of modules"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("/", "leads out of the checkpoint"),
        ("../other", "leads out of the checkpoint"),
        ("1_Dense/../../other", "leads out of the checkpoint"),
        ("x" * 300, "is not a folder"),
        ("a\0", "is not a folder"),
    ],
)
def test_a_module_that_is_no_folder_of_the_checkpoint_is_refused(
    tmp_path: Path, module: str, fault: str
) -> None:
    folder = checkpoints.write("sentence_transformers", "bert-min", tmp_path / "a")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["path"] = module
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=fault):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", '{"model": 5}'),
        ("config.json", '{"model_type": "bert", "vocab_size": "x"}'),
    ],
)
def test_what_transformers_refuses_is_a_checkpoint_error(
    tmp_path: Path, file: str, content: str
) -> None:
    folder = checkpoints.write("stanford", "bert", tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match="does not load as a transformers model"):
        Encoder.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    "layers",
    [
        (Layer(torch.ones(8, 16)),),
        (Layer(torch.ones(8, 32)), Layer(torch.ones(4, 32))),
        (Layer(torch.ones(32)),),
        (Layer(torch.ones(8, 32), bias=torch.ones(9)),),
        (Layer(torch.ones(8, 32), is_residual=True),),
    ],
)
def test_layers_that_do_not_fit_each_other_are_refused(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(CheckpointError, match="of the projection"):
        Projection(layers, 32)


def test_a_token_that_the_backbone_does_not_know_is_refused() -> None:
    ids = [np.array([1, 2], np.int32), np.array([7], np.int32), np.empty(0, np.int32)]
    tokenized = TokenizedTexts(
        ids, np.array([2, 1, 0]), [one > 0 for one in ids], np.zeros(3, np.int64), np.arange(4)
    )
    assert len(tokenized.ids_of(np.array([0, 2]), 7)) == 2
    assert repr(tokenized) == "TokenizedTexts(n_texts=3, n_windows=3, n_tokens=3, cut=0)"
    with pytest.raises(CheckpointError, match="token 7, and the backbone knows tokens 0 to 6"):
        tokenized.ids_of(np.arange(3), 7)


def test_a_tokenizer_that_panics_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.write("stanford", "bert", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"]["special_tokens"] = {}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match=r"correct its tokenizer\.json|does not load"):
        Encoder.from_pretrained(folder, device="cpu")


def test_a_token_id_beyond_32_bits_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.write("stanford", "bert", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["sort"] = 2**31
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match="a token id that is too large"):
        Encoder.from_pretrained(folder, device="cpu").encode_documents(["sort a list"])


def test_a_tokenizer_that_looks_for_tokens_without_end_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.write("stanford", "bert", tmp_path)
    change(folder / "tokenizer_config.json", unk_token="")
    with pytest.raises(CheckpointError, match="correct its"):
        Encoder.from_pretrained(folder, device="cpu").encode_documents(["a list"])
