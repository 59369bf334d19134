from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ODD = "d\x1b]0;title\x07\x1b[31m\x9b1m\u202e\u2028\r\x7f"
PRINTING = f"""
import os, sys
from colmodern.cli import terminal
from colmodern.cli.tables import show
from colmodern.report.tables import text_table
terminal.prepare_streams()
odd, greek = {ODD!a}, {"Ελ"!a}
show(text_table(greek, [greek, odd], [[odd, "1"]]))
terminal.put(odd)
terminal.say(odd)
terminal.put_json([odd, greek])
"""


def call(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )


def command(*arguments: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "colmodern", *arguments], check=False, **streams)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252", "FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "a-terminal-of-cp1252", "C"],
)
def test_a_stream_that_cannot_show_a_letter_gets_its_number(environment: dict[str, str]) -> None:
    done = call(PRINTING, **environment)
    assert done.returncode == 0, done.stderr
    assert rb"\u0395\u03bb" in done.stdout
    assert json.loads(done.stdout[done.stdout.rindex(b"[\n") :]) == [ODD, "Ελ"]


def test_no_control_or_direction_mark_reaches_a_terminal() -> None:
    done = call(PRINTING, PYTHONIOENCODING="utf-8")
    for text in (done.stdout.decode(), done.stderr.decode()):
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2028\r\x7f")
        assert "\\x1b" in text
    refused = command("no\x1b[31m", capture_output=True)
    assert refused.returncode == 2
    assert b"no\\x1b[31m" in refused.stderr


def test_a_reader_that_ends_first_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = command("fetch", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_folder_that_was_deleted_is_said(run, tmp_path: Path, monkeypatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, err = run("info")
    os.chdir(tmp_path)
    assert (code, err) == (2, "error: the current folder was deleted; cd to another\n")


def test_a_closed_stdout_is_no_fault() -> None:
    done = call(
        "import os, sys; os.close(1); sys.stdout = None\n"
        "from colmodern.cli.main import main; main(['fetch'])"
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_message() -> None:
    with open("/dev/full", "w") as full:
        done = command("fetch", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"disk full" in done.stderr
