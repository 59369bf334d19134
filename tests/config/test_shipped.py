"""The configs that come with colmodern, every one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.expected import load_expected
from colmodern.config.load import load_eval_config
from colmodern.config.mine import load_mine_config
from colmodern.config.read import read_values
from colmodern.config.shipped import EXPECTED
from colmodern.config.suite import Member, is_suite, load_suite
from colmodern.config.sweep import load_sweeps
from colmodern.config.train import load_train_config
from colmodern.datasets.names import sets_under
from colmodern.datasets.registry import named_sets

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
PUBLISHED = [path for path in FILES if path.name.endswith(EXPECTED)]
SHARED = [path for path in FILES if path.name.startswith("_")]
SWEEPS = sorted((CONFIGS / "sweep").rglob("*.yaml"))
TRAININGS = sorted((CONFIGS / "train").rglob("[!_]*.yaml"))
MININGS = sorted((CONFIGS / "mine").rglob("*.yaml"))
OTHERS = {*PUBLISHED, *SHARED, *SWEEPS, *TRAININGS, *MININGS}
WHOLE = [path for path in FILES if path not in OTHERS]
SUITES = ("beir", "nanobeir", "mldr", "longembed")
MODELS = {
    "answerai-colbert-small-v1",
    "colbertv2",
    "gte-moderncolbert-v1",
    "modernbert-base",
    "mxbai-edge-colbert-v0-17m",
    "mxbai-edge-colbert-v0-32m",
}


def place(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


@pytest.mark.parametrize("path", WHOLE, ids=place)
def test_every_config_loads(path: Path) -> None:
    configs = (
        [m.config for m in load_suite([path])] if is_suite([path]) else [load_eval_config(path)]
    )
    assert all(config.measures for config in configs)


@pytest.mark.parametrize("path", SWEEPS, ids=place)
def test_every_sweep_loads(path: Path) -> None:
    for config in load_sweeps([path]):
        assert len(config.combinations()) > 1


@pytest.mark.parametrize("path", TRAININGS, ids=place)
def test_every_training_loads(path: Path) -> None:
    config = load_train_config(path)
    assert config.name == path.stem
    assert set(config.evaluation.datasets) <= named_sets().keys()


@pytest.mark.parametrize("path", MININGS, ids=place)
def test_every_mining_loads(path: Path) -> None:
    assert load_mine_config(path).negatives.number > 1


def test_the_paper_recipe_is_the_paper_s() -> None:
    config = load_train_config(CONFIGS / "train" / "modernbert-base-colbert.yaml")
    chosen = config.optimisation
    assert (chosen.batch_size, chosen.learning_rate, chosen.warmup) == (16, 1e-4, 0.05)
    assert "8e-5" in (CONFIGS / "train" / "modernbert-base-colbert.yaml").read_text()


@pytest.mark.parametrize("path", SHARED, ids=place)
def test_what_is_shared_is_extended(path: Path) -> None:
    assert read_values(path)
    assert [one for one in [*WHOLE, *TRAININGS] if path.name in one.read_text()]


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_whole_for_every_model(suite: str) -> None:
    members = load_suite([CONFIGS / "eval" / suite])
    assert {member.column for member in members} == MODELS
    wanted = ["mldr/en"] if suite == "mldr" else [one.name for one in sets_under(suite)]
    for model in MODELS:
        assert [member.row for member in members if member.column == model] == wanted
    assert len({member.config.name for member in members}) == len(members)


def lengths(suite: str, model: str) -> dict[str, int | None]:
    members: list[Member] = load_suite([CONFIGS / "eval" / suite / f"{model}.yaml"])
    return {member.row: member.config.encoder.query_length for member in members}


def test_query_lengths_are_those_of_the_authors() -> None:
    longer = {"beir/arguana": 64, "beir/climate-fever": 64}
    longer |= dict.fromkeys(("beir/scidocs", "beir/scifact", "beir/trec-covid"), 48)
    for model in ("gte-moderncolbert-v1", "colbertv2"):
        assert lengths("beir", model) == {
            row: longer.get(row, 32) for row in lengths("beir", model)
        }
    assert set(lengths("beir", "modernbert-base").values()) == {32}


@pytest.mark.parametrize("path", PUBLISHED, ids=place)
def test_published_scores_belong_to_sets_of_the_suite(path: Path) -> None:
    rows = [m.row for m in load_suite([path.with_name(path.name.replace(EXPECTED, ".yaml"))])]
    assert set(rows) <= named_sets().keys()
    for published in load_expected(path):
        for key in published.scores:
            assert any(row == key or row.startswith(f"{key}/") for row in rows), key
        assert set(published.recipe_of_sets) <= set(rows)


@pytest.mark.parametrize("path", PUBLISHED, ids=place)
def test_published_averages_are_those_of_their_sets(path: Path) -> None:
    suite = path.parent.name
    for published in load_expected(path):
        parts = [score for key, score in published.scores.items() if key != suite]
        if suite in published.scores and parts:
            mean = sum(parts) / len(parts)
            assert mean == pytest.approx(published.scores[suite], abs=6e-4), published.source


def test_table_8_is_whole() -> None:
    [published] = load_expected(CONFIGS / "eval/beir/modernbert-base.expected.yaml")
    assert len(published.scores) == 16
    assert published.scores["beir/cqadupstack"] == 0.351
