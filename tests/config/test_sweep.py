from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.config.load import load_eval_config
from colmodern.config.sweep import SweepConfig, load_sweeps
from colmodern.errors import ConfigError

BASE = "encoder: {model: m, document_length: 64}\nindex: {kind: plaid, nbits: 2}\n"


def load(tmp_path: Path, text: str, *overrides: str, base: str = BASE) -> list[SweepConfig]:
    path = tmp_path / "grid.yaml"
    path.write_text(base + text)
    return load_sweeps([path], overrides)


def test_every_combination_is_an_evaluation_with_its_settings(tmp_path: Path) -> None:
    text = (
        "sweep: {nbits: [1, 2], n_candidates: [null, 200], pool_factor: [1, 1.5], rescore: false}"
    )
    [config] = load(tmp_path, text)
    found = config.combinations()
    assert len(found) == 8
    for one in found:
        index, encoder = one.config.index, one.config.encoder
        assert (index.nbits, index.n_candidates) == (
            one.settings["nbits"],
            one.settings["n_candidates"],
        )
        assert encoder.pool_factor == one.settings["pool_factor"]
        assert encoder.document_length == 64
    assert len({tuple(one.settings.values()) for one in found}) == 8
    # what is encoded changes least often, then what is built
    assert [(one.settings["pool_factor"], one.settings["nbits"]) for one in found[::2]] == [
        (1, 1),
        (1, 2),
        (1.5, 1),
        (1.5, 2),
    ]


def test_a_single_value_needs_no_brackets_and_overrides_reach_the_grid(tmp_path: Path) -> None:
    [config] = load(
        tmp_path, "sweep: {nbits: 4}", "sweep.nprobe=[2, 3]", "search.k=5", "measures=[AP]"
    )
    assert config.sweep.nbits == (4,)
    assert config.sweep.nprobe == (2, 3)
    assert {one.config.search.k for one in config.combinations()} == {5}


def test_sets_share_a_grid_and_may_change_it(tmp_path: Path) -> None:
    text = "sweep: {nbits: [1, 2]}\nsets:\n  a:\n  b: {sweep: {nbits: [8], nprobe: [4]}}\n"
    first, second = load(tmp_path, text)
    assert (first.name, first.sweep.nbits) == ("grid.a", (1, 2))
    assert (second.name, second.sweep.nbits, second.sweep.nprobe) == ("grid.b", (8,), (4,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sweep: missing"),
        ("sweep: {}", "has no values to combine; give lists for some of nbits"),
        ("sweep: {nbits: []}", r"sweep\.nbits: is empty"),
        ("sweep: {nbits: [2, 2]}", r"sweep\.nbits: 2 is given twice"),
        ("sweep: {nbits: [3]}", r"sweep\.nbits.*1, 2, 4 or 8.*given: 3"),
        ("sweep: {nprobe: [0]}", r"sweep\.nprobe.*greater than or equal to 1"),
        ("sweep: {bits: [2]}", r"sweep\.bits: unknown key; did you mean 'nbits'"),
        ("sweep: {n_candidates: [200, 20, 30]}", r"n_candidates=20 is below search\.k=100"),
        ("sweep: {nbits: 2, cut: stored}", r"sweep\.cut: there is nothing to cut"),
        ("sweep: {document_length: [2]}", r"sweep\.document_length.*at least|greater"),
        ("sweep: {document_length: 9, cut: both}", r"sweep\.cut.*'encode' or 'stored'"),
        ("index: {kind: exact}\nsweep: {nbits: [1]}", "an index of kind exact has no such setting"),
    ],
)
def test_a_bad_grid_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    base = BASE.replace("index: {kind: plaid, nbits: 2}\n", "") if "kind: exact" in text else BASE
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text, base=base)


def test_all_faults_of_a_grid_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "sweep: {nbits: [3], nprobe: [0], pool: [1]}")
    assert all(key in str(error.value) for key in ("sweep.nbits", "sweep.nprobe", "sweep.pool"))


def test_an_evaluation_has_no_grid(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(f"{BASE}sweep: {{nbits: [1]}}")
    with pytest.raises(ConfigError, match="sweep: unknown key"):
        load_eval_config(tmp_path / "grid.yaml")
