"""Trainings of a few steps through PyLate itself, on tiny backbones."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from conftest import write_beir, write_jsonl
from safetensors.torch import load_file, save_file

from colmodern import Encoder
from colmodern.config.load import dump
from colmodern.config.train import TrainConfig, load_train_config
from colmodern.errors import ConfigError, DataError
from colmodern.training.run import run_train

pytestmark = [
    pytest.mark.pylate,
    # of PyLate, sentence-transformers and accelerate, about their own calls
    pytest.mark.filterwarnings("ignore"),
]

NOUNS = ["list", "file", "date", "time", "token", "vector", "index", "train", "error", "wing"]
NOUNS += ["lift", "speed", "heat", "flow"]
TOLERANCE = 2e-5  # as of the other comparisons with PyLate


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that a tiny model learns: the document that has the query's noun."""
    folder = tmp_path_factory.mktemp("data")
    chance = random.Random(0)

    def document(noun: str) -> str:
        return " ".join([*chance.choices(["the", "a", "of", "in"], k=3), noun])

    triples, scores = [], []
    for _ in range(96):
        noun, *others = chance.sample(NOUNS, 4)
        query = f"find {noun}"
        documents = [document(one) for one in (noun, *others)]
        triples.append({"query": query, "positive": documents[0], "negatives": documents[1:]})
        scores.append({"query": query, "documents": documents, "scores": [9, 1, 1, 0]})
    write_jsonl(folder / "triples.jsonl", triples)
    write_jsonl(folder / "pairs.jsonl", triples)
    write_jsonl(folder / "scores.jsonl", scores)
    write_beir(
        folder / "judged",
        corpus=[{"_id": noun, "text": f"the {noun} of a"} for noun in NOUNS],
        queries=[{"_id": f"q-{noun}", "text": f"find {noun}"} for noun in NOUNS],
        qrels=[f"q-{noun}\t{noun}\t1" for noun in NOUNS],
    )
    return folder


def config(data: Path, output: Path, model: Path, *more: str, kind: str = "triples") -> TrainConfig:
    objective = "distillation" if kind == "scores" else "contrastive"
    path = output / "small.yaml"
    path.write_text(
        f"encoder: {{model: {model}, projection_dim: 8, query_length: 10, document_length: 16}}\n"
        f"objective: {{kind: {objective}, temperature: 0.1}}\n"
        f"data: [{{path: {data / kind}.jsonl, kind: {kind}}}]\n"
        "optimisation: {batch_size: 8, learning_rate: 3.0e-3, device: cpu, seed: 3}\n"
        f"evaluation: {{datasets: [{data / 'judged'}], every: 10}}\n"
        f"log_every: 1\noutput: {output / 'runs'}\n"
    )
    return load_train_config(path, more)


def losses(folder: Path) -> list[float]:
    with (folder / "curves.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream) if row["loss"]]


@pytest.mark.parametrize(
    ("backbone", "kind", "changes"),
    [
        ("bert", "triples", []),
        ("modernbert", "pairs", ["encoder.query_expansion=false"]),
        ("bert", "pairs", ["optimisation.gradient_accumulation=2"]),
        ("modernbert", "triples", ["objective.kind=cached_contrastive", "objective.mini_batch=3"]),
        ("modernbert", "scores", ["log_every=1000"]),
        ("bert", "scores", ["objective.temperature=1.0", "optimisation.dtype=bfloat16"]),
    ],
)
def test_a_trained_checkpoint_is_read_with_pylate_s_embeddings(
    backbone: str, kind: str, changes: list[str], data: Path, tmp_path: Path
) -> None:
    from golden.make_golden import encode_pylate

    model = checkpoints.plain(tmp_path / backbone, backbone)
    changes = [*changes, "optimisation.max_steps=4", "encoder.document_prompt='read: '"]
    folder = run_train(config(data, tmp_path, model, *changes, kind=kind))
    encoder = Encoder.from_pretrained(folder / "model", device="cpu")
    assert encoder.dim == 8
    assert encoder.settings.document_length == 16
    assert encoder.settings.document_prompt == "read: "
    theirs = encode_pylate(folder / "model", checkpoints.QUERIES, checkpoints.DOCUMENTS)
    ours = (
        encoder.encode_queries(checkpoints.QUERIES),
        encoder.encode_documents(checkpoints.DOCUMENTS),
    )
    for found, expected in zip(ours, theirs, strict=True):
        for text, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(text, wanted, atol=TOLERANCE)
    assert losses(folder)  # a curve, also of fewer steps than its points are apart


def test_a_checkpoint_in_halves_is_trained_in_float32(data: Path, tmp_path: Path) -> None:
    folder = checkpoints.plain(tmp_path / "modernbert", "modernbert")
    path, described = folder / "model.safetensors", folder / "config.json"
    halves = {name: weight.half() for name, weight in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})
    described.write_text(json.dumps({**json.loads(described.read_text()), "dtype": "float16"}))
    chosen = config(data, tmp_path, folder, "optimisation.max_steps=12", kind="scores")
    trained = run_train(chosen)
    assert {str(w.dtype) for w in load_file(trained / "model" / path.name).values()} == {
        "torch.float32"
    }
    first, *_, last = losses(trained)
    assert last < first


def test_a_learnable_task_is_learned_and_told(data: Path, tmp_path: Path, bert: Path) -> None:
    chosen = config(data, tmp_path, bert, "optimisation.epochs=5", "card.licence=mit")
    folder = run_train(chosen)
    curve = losses(folder)
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5])
    told = json.loads((folder / "training.json").read_text())
    [before], [after] = told["measures_at_start"].values(), told["measures"].values()
    assert after["nDCG@10"] > before["nDCG@10"] + 0.1
    assert (folder / "train.yaml").read_text() == dump(chosen)
    assert json.loads((folder / "environment.json").read_text())["packages"]["pylate"]
    card = (folder / "model" / "README.md").read_text()
    assert "started from" not in card
    for fact in ("license: mit", "triples.jsonl", "| 96 |", f"{after['nDCG@10']:.4f}", "pylate"):
        assert fact in card
    assert not (folder / "checkpoints").exists()


def test_the_best_weights_are_kept_or_the_last(data: Path, tmp_path: Path, bert: Path) -> None:
    # a rate at which training destroys what was there
    changes = ["optimisation.learning_rate=0.5", "optimisation.max_steps=20"]
    best = run_train(config(data, tmp_path, bert, *changes, "name=best"))
    last = run_train(config(data, tmp_path, bert, *changes, "name=last", "weights=last"))
    told = [json.loads((one / "training.json").read_text()) for one in (best, last)]
    with (best / "curves.csv").open() as stream:
        measure = f"{data / 'judged'} nDCG@10"
        found = {int(x["step"]): float(x[measure]) for x in csv.DictReader(stream) if x[measure]}
    assert found[told[0]["step_of_the_model"]] == max(found.values())
    assert told[1]["step_of_the_model"] == 20
    weights = [(one / "model" / "model.safetensors").read_bytes() for one in (best, last)]
    assert (weights[0] == weights[1]) == (told[0]["step_of_the_model"] == 20)


def train_and_kill(path: Path, at: Path, *more: str) -> None:
    """Run the command until a file is there, then SIGKILL."""
    command = [sys.executable, "-m", "colmodern", "train", str(path), *more]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not at.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("weights", ["last", "best"])
def test_killed_and_resumed_equals_uninterrupted(
    weights: str, data: Path, tmp_path: Path, bert: Path
) -> None:
    changes = ["optimisation.epochs=2", "checkpoints.every=5", f"weights={weights}"]
    if weights == "last":
        mixed = f"data=[{{path: {data}/triples.jsonl, kind: triples}}, "
        changes.append(mixed + f"{{path: {data}/pairs.jsonl, kind: pairs, weight: 0.5}}]")
        changes.append("optimisation.no_duplicates=true")
    whole = run_train(config(data, tmp_path, bert, *changes, "name=whole"))
    broken = tmp_path / "runs" / "broken"
    for step in (5, 20):  # of 24, or of 36: in the first and in the second epoch
        mark = broken / "checkpoints" / f"checkpoint-{step}" / "colmodern.json"
        train_and_kill(tmp_path / "small.yaml", mark, *changes, "name=broken")
    unfinished = broken / "checkpoints" / "checkpoint-999"
    unfinished.mkdir()  # as the trainer leaves it when it is killed while writing
    assert run_train(config(data, tmp_path, bert, *changes, "name=broken")) == broken
    for name in ("model/model.safetensors", "model/1_Dense/model.safetensors", "curves.csv"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name


def test_another_config_or_changed_data_are_refused(data: Path, tmp_path: Path, bert: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_bytes((data / "pairs.jsonl").read_bytes())
    changes = [f"data=[{{path: {pairs}, kind: pairs}}]", "checkpoints.every=3"]
    chosen = config(data, tmp_path, bert, *changes)
    folder = tmp_path / "runs" / "small"
    mark = folder / "checkpoints" / "checkpoint-3" / "colmodern.json"
    train_and_kill(tmp_path / "small.yaml", mark, *changes)
    with pytest.raises(
        ConfigError, match=r"optimisation\.seed: 3, now 4\); resume with that config"
    ):
        run_train(config(data, tmp_path, bert, *changes, "optimisation.seed=4"))
    lines = pairs.read_text().splitlines()
    pairs.write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match="the data changed since"):
        run_train(chosen)
    pairs.write_text("\n".join(lines) + "\n")
    run_train(chosen)
    before = (folder / "model" / "README.md").stat().st_mtime_ns
    run_train(chosen)
    assert (folder / "model" / "README.md").stat().st_mtime_ns == before


def test_mixed_sets_keep_their_shares(data: Path, tmp_path: Path, bert: Path) -> None:
    from colmodern.training.data import load_sources
    from colmodern.training.losses import make_loss
    from colmodern.training.model import find_initial_checkpoint, make_model
    from colmodern.training.trainer import make_trainer

    chosen = config(
        data,
        tmp_path,
        bert,
        f"data=[{{path: {data}/pairs.jsonl, kind: pairs, weight: 0.5}}, "
        f"{{path: {data}/triples.jsonl, kind: triples, weight: 2}}]",
    )
    model = make_model(chosen, find_initial_checkpoint(chosen.encoder))
    sources = load_sources(chosen, tmp_path)
    rows = {source.name: source.examples for source in sources}
    loss = make_loss(chosen.objective, model)
    trainer = make_trainer(chosen, model, loss, rows, work=tmp_path / "w", callbacks=[])
    batches = list(trainer.get_train_dataloader())
    sizes = dict.fromkeys((2, 5), 0)  # texts of a row: query, positive, and negatives
    for batch in batches:
        n_texts = sum(name.endswith("_input_ids") for name in batch)
        sizes[n_texts] += len(batch["query_input_ids"])
    assert sizes == {2: 48, 5: 192}


def test_training_goes_on_from_a_pylate_checkpoint(
    data: Path, tmp_path: Path, pylate_bert: Path
) -> None:
    chosen = config(data, tmp_path, pylate_bert, "optimisation.max_steps=2")
    with pytest.raises(ConfigError, match="is a pylate checkpoint with its own projection"):
        run_train(chosen)  # and the folder is still free for a config that can be begun with
    whole = ["encoder.projection_dim=null", "encoder.document_length=null"]
    chosen = config(data, tmp_path, pylate_bert, "optimisation.max_steps=2", *whole)
    settings = Encoder.from_pretrained(run_train(chosen) / "model", device="cpu").settings
    assert settings.document_length == checkpoints.DOCUMENT_LENGTH
    assert settings.query_length == 10
