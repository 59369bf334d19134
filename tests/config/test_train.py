from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.mine import load_mine_config
from colmodern.config.train import load_train_config
from colmodern.errors import ConfigError

SMALL = """
encoder: {model: backbone}
objective: {kind: distillation}
data: [{path: a.jsonl, kind: scores}]
"""


def write(folder: Path, text: str = SMALL) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def test_a_training_is_named_after_its_file_and_takes_overrides(tmp_path: Path) -> None:
    config = load_train_config(write(tmp_path), ["optimisation.seed=5", "weights=last"])
    assert (config.name, config.optimisation.seed, config.weights) == ("small", 5, "last")
    assert config.objective.kind == "distillation"


def test_an_override_reaches_an_entry_of_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL.replace("scores}]", "scores}, {path: b.jsonl, kind: scores}]"))
    changes = ["data.1.max_rows=100", "data.0.weight=2", "data.1={path: c.jsonl, kind: scores}"]
    first, second = load_train_config(path, changes[:2]).data
    assert (first.path, first.weight, first.max_rows) == ("a.jsonl", 2, None)
    assert (second.path, second.weight, second.max_rows) == ("b.jsonl", 1, 100)
    first, second = load_train_config(path, changes).data
    assert (first.path, second.path, second.max_rows) == ("a.jsonl", "c.jsonl", None)


def test_a_wrong_entry_is_not_called_a_list_without_entries(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_train_config(write(tmp_path), ["data=[{path: a.jsonl, kind: no}]"])
    assert "data.0.kind" in str(raised.value)
    assert "at least 1 item" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimisation.learningrate=1", "did you mean 'learning_rate'"),
        ("objective.mini_batch=3", "objective.mini_batch: unknown key of kind distillation"),
        ("objective.kind=margin", "choose one of 'contrastive', 'cached_contrastive'"),
        ("data=[]", "data: "),
        ("data=[{path: a, kind: triples}]", "data.0 is of kind triples, but distillation learns"),
        ("data=[{path: a, kind: scores, wieght: 2}]", "data.0.wieght: unknown key"),
        ("data.1.max_rows=9", "there is no entry 1, the list has entries 0 to 0; give the whole"),
        ("data.1={path: b}", "there is no entry 1"),
        ("data.-1.max_rows=9", "'-1' is not a number, where a list is"),
        ("data.max_rows=9", "'data.max_rows=9': 'max_rows' is not a number"),
        ("data.0.path.x=9", "path is a single value"),
        ("data.0.max_row=9", "data.0.max_row: unknown key; did you mean 'max_rows'"),
        ("data=[{path: a, kind: scores, queries: q}]", "queries and documents come together"),
        (
            "data=[{path: a, kind: scores, queries: q, documents: d}]",
            "rows of ids may differ in length; give n_ways",
        ),
        ("name=a/b", "cannot name a folder"),
    ],
)
def test_faults_are_named_with_a_cure(tmp_path: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("[", r"\[")):
        load_train_config(write(tmp_path), [override])


def test_pairs_need_company_in_their_batch(tmp_path: Path) -> None:
    changes = [
        "objective.kind=contrastive",
        "data=[{path: a.jsonl, kind: pairs}]",
        "optimisation.batch_size=1",
    ]
    with pytest.raises(ConfigError, match="leaves pairs without a negative"):
        load_train_config(write(tmp_path), changes)


def test_mining_needs_one_source_and_room_for_its_negatives() -> None:
    basics = ["encoder.model=m", "output=o.jsonl"]
    with pytest.raises(ConfigError, match="either dataset or pairs"):
        load_mine_config(None, basics)
    with pytest.raises(ConfigError, match="command line: negatives: ranks 90 to 100 hold 11"):
        load_mine_config(None, [*basics, "pairs=p.jsonl", "negatives.first_rank=90"])
    with pytest.raises(ConfigError, match=r"end it in \.jsonl"):
        load_mine_config(None, ["encoder.model=m", "output=o.csv", "pairs=p.jsonl"])


def test_a_teacher_without_a_kind_is_an_encoder() -> None:
    basics = ["encoder.model=m", "output=o.jsonl", "pairs=p.jsonl"]
    encoder = load_mine_config(None, [*basics, "teacher.model=t"]).teacher
    cross = load_mine_config(
        None, [*basics, "teacher.model=t", "teacher.kind=cross_encoder"]
    ).teacher
    assert encoder is not None
    assert cross is not None
    assert (encoder.kind, cross.kind) == ("encoder", "cross_encoder")
