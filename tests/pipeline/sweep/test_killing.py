"""Killing a sweep, and interrupting it, at many points: nothing that was finished is done again."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GRID = """
index: {kind: plaid}
search: {k: 10}
measures: [nDCG@10, AP]
sweep: {nbits: [1, 4], nprobe: [null, 2], n_candidates: [10, 20], pool_factor: [1, 2],
  document_length: [8, 24], cut: stored}
"""
SAME = (
    "nbits",
    "nprobe",
    "n_candidates",
    "pool_factor",
    "document_length",
    "cut",
    "nDCG@10",
    "AP",
    "bytes",
)


@pytest.fixture
def config(eval_config: Callable[..., Path]) -> Path:
    """The config of a sweep of 32 points, from one encoding and 8 indexes."""
    return eval_config("grid", extra=GRID)


def command(config: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "colmodern", "sweep", str(config), f"output={output}"]


def finish(config: Path, output: Path) -> list[dict[str, str]]:
    done = subprocess.run(command(config, output), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader((output / "grid/sweep.csv").read_text().splitlines()))


def finished(output: Path) -> dict[Path, int]:
    """Files that say that something is finished, and when they were written."""
    names = ("documents-*/manifest.json", "index-*.json", "search-*/search.json")
    found = [path for name in names for path in output.glob(f".cache/{name}")]
    return {path: path.stat().st_mtime_ns for path in found}


def wait(process: subprocess.Popen, output: Path, pattern: str, wanted: int) -> None:
    while process.poll() is None and len(list(output.glob(f".cache/{pattern}"))) < wanted:
        time.sleep(0.005)  # leaves the core to the process that is waited for


def same(rows: list[dict[str, str]]) -> list[list[str]]:
    return [[row[name] for name in SAME] for row in rows]


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_table(
    config: Path, tmp_path: Path
) -> None:
    expected = finish(config, tmp_path / "whole")
    assert len(expected) == 32
    places = [
        ("documents-*", 1),
        ("index-*", 1),
        ("search-*", 3),
        ("search-*", 17),
        ("search-*", 34),
    ]
    output = tmp_path / "killed"  # the same one: each time it comes further
    for pattern, wanted in places:
        process = subprocess.Popen(
            command(config, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait(process, output, pattern, wanted)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (output / "grid").exists()
    kept = finished(output)
    assert len(kept) > 30
    rows = finish(config, output)
    assert same(rows) == same(expected)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    # 4 states of documents with exact results, and 32 points
    assert len(list(output.glob(".cache/search-*"))) == 36
    assert not [path for path in output.rglob("*") if path.name.endswith((".tmp", ".building"))]


def test_ctrl_c_is_one_message(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    process = subprocess.Popen(
        command(config, output),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait(process, output, "search-*", 5)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert said.rstrip().endswith("run the same command again to resume")
    assert "Traceback" not in said
    kept = finished(output)
    assert len(finish(config, output)) == 32
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
