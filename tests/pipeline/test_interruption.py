"""Killing an evaluation, and filling its disk, at many points: nothing half-done is ever served."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_beir

from colmodern.ragged.store import EmbeddingStore

pytestmark = pytest.mark.slow

N_DOCS = 600


@pytest.fixture
def config(tmp_path: Path, pylate_bert: Path) -> Path:
    """A config that encodes in about thirty shards."""
    corpus = [
        {"_id": f"d{i}", "text": f"read file number {i} and sort the list of names " * 2}
        for i in range(N_DOCS)
    ]
    folder = write_beir(tmp_path / "many", corpus=corpus, qrels=["q1\td1\t1", "q2\td2\t1"])
    path = tmp_path / "many.yaml"
    path.write_text(
        f"dataset: {{name: {folder}}}\nencoder: {{model: {pylate_bert}}}\n"
        f"storage: {{shard_tokens: 500}}\n"
    )
    return path


def command(config: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "colmodern", "eval", str(config), f"output={output}"]


def finish(config: Path, output: Path) -> str:
    done = subprocess.run(command(config, output), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def documents(output: Path) -> Path:
    [folder] = (output / ".cache").glob("documents-*")
    return folder


def checksums(folder: Path) -> list[dict]:
    return [
        shard["sha256"] for shard in json.loads((folder / "manifest.json").read_text())["shards"]
    ]


def test_killed_anywhere_it_resumes_and_ends_with_the_same_bytes(
    config: Path, tmp_path: Path
) -> None:
    finish(config, tmp_path / "whole")
    whole = documents(tmp_path / "whole")
    n_shards = len(checksums(whole))
    assert n_shards > 20
    for wanted in (1, 9, n_shards - 1):
        output = tmp_path / f"killed-{wanted}"
        process = subprocess.Popen(
            command(config, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while (
            process.poll() is None and len(list(output.glob(".cache/documents-*/shard-*"))) < wanted
        ):
            time.sleep(0.005)  # leaves the core to the process that is waited for
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (output / "many").exists()
        folder = documents(output)
        kept = {p.name: (p / "shard.json").stat().st_mtime_ns for p in folder.glob("shard-*")}
        assert len(kept) >= wanted
        said = finish(config, output)
        if len(kept) != n_shards:
            assert "going on after" in said
        assert {n: (folder / n / "shard.json").stat().st_mtime_ns for n in kept} == kept
        assert checksums(folder) == checksums(whole)
        assert (output / "many/run.trec").read_bytes() == (
            tmp_path / "whole/many/run.trec"
        ).read_bytes()


@pytest.mark.parametrize("limit", [100, 8_000, 12_000])
def test_a_full_disk_is_one_message_and_leaves_nothing_half_done(
    config: Path, tmp_path: Path, limit: int
) -> None:
    output = tmp_path / "runs"

    def small_disk() -> None:
        # a file beyond this size fails as on a full disk, with the same handling
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    full = subprocess.run(
        command(config, output), capture_output=True, text=True, check=False, preexec_fn=small_disk
    )
    assert full.returncode == 2, full.stderr
    assert "disk full while writing" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (output / "many").exists()
    for shard in output.glob(".cache/*/shard-*"):
        assert (shard / "shard.json").is_file()
    assert not [path for path in output.rglob("*") if path.name.endswith(".tmp")]
    finish(config, output)
    EmbeddingStore(documents(output)).verify()
