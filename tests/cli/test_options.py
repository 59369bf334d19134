from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LONG = "x" * 300
MODEL = ("-m", "colmodern/tiny")


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["info", "PATH"],
        ["compare", "PATH", "PATH"],
        ["cache", "--output", "PATH"],
        ["cache", "prune", "--output", "PATH"],
        ["encode", "PATH", "-o", "new", *MODEL],
        ["encode", "stdlib", "-o", "PATH", *MODEL],
        ["search", "PATH", "words"],
        ["search", ".", "words", "--index", "PATH"],
        ["rerank", "stdlib", "--run", "PATH", "-o", "new", *MODEL],
        ["rerank", "stdlib", "--run", "run", "-o", "PATH", *MODEL],
        ["index", "build", "PATH", "new"],
        ["index", "build", ".", "PATH"],
        ["index", "info", "PATH"],
        ["fetch", "beir/scifact", "--from", "PATH"],
        ["reproduce", "modernbert-base/scifact", "--configs", "PATH"],
        *([name, "PATH"] for name in ("eval", "plan", "sweep", "mine", "train")),
    ],
    ids=" ".join,
)
def test_what_can_be_no_path_is_refused_by_every_command(
    run, command: list[str], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*(path if word == "PATH" else word for word in command))
    assert code == 2
    reason = {"": "empty", "a\0b": "a NUL character"}.get(
        path, "there is no such user; write the path"
    )
    assert reason in err
    assert not list(tmp_path.iterdir())


def test_a_tilde_that_the_shell_left_is_the_home(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("cache", "--output=~/runs")
    assert code == 0
    assert f"{tmp_path}/runs/.cache" in out


@pytest.mark.parametrize("what", [LONG, f"./{LONG}", f"{LONG}/{LONG}", "\udcff"])
def test_info_on_what_can_be_no_file_says_so(run, what: str, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = run("info", what)
    assert code == 2
    assert err.startswith("error: ")
    assert any(words in err for words in ("no folder", "there is no", "too long", "is not a path"))


def test_a_setting_may_be_longer_than_a_name_of_a_file(run, eval_config) -> None:
    code, _, err = run("plan", eval_config(), f"encoder.query_prompt={'words ' * 60}", "search.k=x")
    assert code == 2
    assert "search.k" in err
    assert "too long" not in err


def a_folder(path: Path) -> None:
    path.mkdir()


def a_device(path: Path) -> None:
    path.symlink_to(os.devnull)


def a_stream(path: Path) -> None:
    path.symlink_to("/proc/self/fd/0")


@pytest.mark.parametrize("put", [a_folder, a_device, a_stream, os.mkfifo])
@pytest.mark.parametrize(
    "command",
    [
        ["compare", "a", "b", "--format", "html", "-o"],
        ["search", "a", "--queries", "b", "-o"],
        ["rerank", "stdlib", "--run", "a", *MODEL, "-o"],
    ],
    ids=lambda command: command[0],
)
def test_an_output_in_whose_place_no_file_belongs_is_refused_before_any_work(
    run, command: list[str], put, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    put(output)
    before = output.lstat()
    code, _, err = run(*command, output)
    assert code == 2
    assert "would be replaced by a file; choose another output" in err
    assert os.path.samestat(before, output.lstat())


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_folder_whose_name_is_no_text_is_worked_in(beir: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.rename(beir, folder)
    command = [sys.executable, "-m", "colmodern"]
    settings = "name: x\ndataset: {name: .}\nencoder: {model: colmodern/tiny}\n"
    with open(folder + b"/c.yaml", "w") as stream:
        stream.write(settings)
    for arguments in (["eval", "c.yaml"], ["info", folder + b"/runs/x"]):
        ended = subprocess.run(
            [*command, *arguments], cwd=folder, capture_output=True, text=True, errors="replace"
        )
        assert ended.returncode == 0, ended.stderr
