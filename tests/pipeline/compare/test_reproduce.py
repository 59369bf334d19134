from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_beir

from colmodern.cli.main import main
from colmodern.errors import ConfigError, DataError
from colmodern.pipeline.compare.reproduce import Verdict, config_folder, find_target, reproduce
from colmodern.progress import Silent

EXPECTED = """
- source: a paper
  recipe: {encoder: {query_length: 32, document_length: 24}, search: {k: 100}, index: {kind: HNSW}}
  recipe_of_sets: {my/qa/gis: {encoder: {query_length: 64}}}
  not_stated: [the dtype]
  scores: {my: %s, my/one: %s, my/qa: 0.1}
- source: another paper
  scores: {my/one: 0.0}
"""


@pytest.fixture
def configs(tmp_path: Path, pylate_bert: Path) -> Callable[..., Path]:
    """Writes a suite of a set and a set of two parts, and its published scores."""
    for name in ("one", "tex", "gis"):
        write_beir(tmp_path / name)

    def write(score: float = 0.5, model: str = str(pylate_bert)) -> Path:
        folder = tmp_path / "configs" / "my"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.expected.yaml").write_text(EXPECTED % (score, score))
        (folder / "tiny.yaml").write_text(
            f"encoder: {{model: {model}}}\noutput: {tmp_path / 'runs'}\nsets:\n"
            f"  my/one: {{dataset: {{name: {tmp_path / 'one'}}}}}\n"
            f"  my/qa/tex: {{dataset: {{name: {tmp_path / 'tex'}}}}}\n"
            f"  my/qa/gis: {{dataset: {{name: {tmp_path / 'gis'}}}}}\n"
        )
        return folder.parent

    return write


def judge(name: str, configs: Path, *overrides: str) -> list[Verdict]:
    return reproduce(find_target(name, configs, overrides), progress=Silent())[0]


def test_each_source_is_judged_by_its_tolerance(configs) -> None:
    obtained = judge("tiny/one", configs())[0].obtained
    assert obtained is not None
    first, second = judge("tiny/one", configs(round(obtained + 0.004, 4)))
    assert (first.published.source, second.published.source) == ("a paper", "another paper")
    assert first.obtained == second.obtained == obtained
    assert first.difference == pytest.approx(-0.004, abs=1e-4)
    assert first.is_within
    assert not second.is_within


def test_what_differs_from_the_published_recipe_is_listed(configs) -> None:
    differences = judge("tiny/qa", configs(), "dataset.max_queries=2")[0].differences
    shown = {(setting, theirs, here, rows) for setting, theirs, here, rows in differences}
    assert shown == {
        ("encoder.query_length", 32, 16, ("my/qa/tex",)),
        ("encoder.query_length", 64, 16, ("my/qa/gis",)),
        ("index.kind", "HNSW", "exact", ("my/qa/tex", "my/qa/gis")),
        ("dataset.max_queries", None, 2, ("my/qa/tex", "my/qa/gis")),
    }


def test_a_suites_score_is_the_average_in_which_parts_are_one_set(configs) -> None:
    one, parts, whole = (
        judge(name, configs())[0].obtained for name in ("tiny/one", "tiny/qa", "tiny/my")
    )
    assert one is not None
    assert parts is not None
    assert whole == pytest.approx((one + parts) / 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("huge/one", "no published scores of 'huge' in .*; there are tiny"),
        ("tiny/two", "no score of 'two'; tiny has scores of my, my/one, my/qa"),
        ("tiny", "no score of ''"),
        ("**/one", r"no published scores of '\*\*' in "),
        ("../tiny/one", r"no published scores of '\.\.' in "),
    ],
)
def test_targets_that_are_not_there_are_named(configs, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_target(name, configs())


def test_missing_data_names_the_command_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))
    shipped = config_folder(None)
    with pytest.raises(DataError, match=r": colmodern fetch beir/scifact$"):
        judge("modernbert-base/scifact", shipped)
    with pytest.raises(DataError, match=r"fetch beir/cqadupstack/android .*/wordpress$"):
        judge("modernbert-base/cqadupstack", shipped)


def test_the_folder_of_suites_is_found_or_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere with suites"):
        config_folder(tmp_path / "nowhere")


def test_end_to_end_from_the_shell(configs, capfd: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: object) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", *map(str, arguments)])
        return ended.value.code, capfd.readouterr().out

    code, out = call("tiny/one", "--configs", configs(), "dataset.max_queries=2")
    assert code == 3
    for part in ("a paper", "expected", "0.5000", "obtained", "difference", "tolerance", "outside"):
        assert part in out
    assert "encoder.query_length" in out
    assert "dataset.max_queries" in out
    assert "not stated by the source: the dtype" in out
    assert out.splitlines()[-1].endswith("tiny.my-one")


def test_a_real_model_reaches_a_score_that_it_must(configs) -> None:
    folder = configs(1.0, "colmodern/tiny")
    verdict = judge("tiny/one", folder, "encoder.document_length=64")[0]
    assert verdict.obtained == 1.0  # three queries that hardly can be missed
    assert verdict.is_within
