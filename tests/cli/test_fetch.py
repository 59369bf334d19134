from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hub_copies import BEIR, multilingual, write_repository

from colmodern import load_dataset
from colmodern.cli.main import main


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[object, str, str]]:
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path / "cache"))

    def call(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code, *capfd.readouterr()

    return call


def test_a_set_is_fetched_from_a_copy_and_then_used(run, tmp_path: Path) -> None:
    repo = write_repository(tmp_path / "copies/mteb/scifact", BEIR)
    code, out, err = run("fetch", "beir/scifact", "--from", repo)
    assert code == 0
    assert Path(out.strip()).is_dir()
    assert "beir/scifact corpus: 5 rows" in err
    assert len(load_dataset("beir/scifact").corpus) == 5
    assert run("fetch", "beir/scifact")[0] == 0  # it is there: nothing is asked of the hub


def test_of_a_suite_one_failure_does_not_stop_the_others(run, tmp_path: Path) -> None:
    for name in ("mteb/scifact", "mteb/nfcorpus"):
        write_repository(tmp_path / "copies" / name, BEIR)
    (tmp_path / "copies/mteb/nfcorpus/README.md").unlink()
    code, out, err = run("fetch", "beir/nfcorpus", "beir/scifact", "--from", tmp_path / "copies")
    assert code == 2
    assert "beir--scifact" in out
    assert "1 of 2 sets were not fetched: beir/nfcorpus" in err


def test_without_a_network_the_first_failure_is_the_message(run) -> None:
    code, out, err = run("fetch", "beir")
    assert (code, out) == (2, "")
    assert err.count("error:") == 1
    assert "cannot read the qrels of beir/arguana" in err
    assert "--from FOLDER" in err


def test_languages_and_splits_are_chosen(run, tmp_path: Path) -> None:
    repo = write_repository(tmp_path / "repo", multilingual("de"))
    assert run("fetch", "mldr/de", "--split", "dev", "--from", repo)[0] == 0
    assert len(load_dataset("mldr/de", split="dev").qrels) == 1
    code, _, err = run("fetch", "mldr/de", "--split", "train", "--from", repo)
    assert (code, "no split 'train'; it has test, dev" in err) == (2, True)


def test_without_a_name_it_lists_the_sets(run, tmp_path: Path) -> None:
    out = run("fetch")[1]
    for name in ("beir/cqadupstack/tex", "nanobeir/quora", "mldr/zh", "longembed/needle/32768"):
        assert name in out
    assert run("fetch", "beir/scifacts")[0] == 2
