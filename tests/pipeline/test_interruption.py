"""Killing an evaluation, and filling its disk, at many points: nothing half-done is ever served."""

from __future__ import annotations

import json
import os
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
    return write_config(tmp_path, pylate_bert)


def write_config(tmp_path: Path, pylate_bert: Path) -> Path:
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


def command(config: Path, output: Path, *settings: str) -> list[str]:
    arguments = ["eval", str(config), f"output={output}", *settings]
    return [sys.executable, "-m", "colmodern", *arguments]


def finish(config: Path, output: Path, *settings: str) -> str:
    done = subprocess.run(
        command(config, output, *settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def documents(output: Path) -> Path:
    [folder] = (output / ".cache").glob("documents-*")
    return folder


def checksums(folder: Path) -> list[dict]:
    return [
        shard["sha256"] for shard in json.loads((folder / "manifest.json").read_text())["shards"]
    ]


def workers_of(process: subprocess.Popen) -> list[Path]:
    """Folders in /proc of the processes that encode for one."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not listed.exists():
        return []
    found = [Path("/proc") / pid for pid in listed.read_text().split()]
    return [child for child in found if b"spawn_main" in (child / "cmdline").read_bytes()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pylate_bert: Path) -> tuple[Path, Path]:
    """The config and the output of an evaluation that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_config(folder, pylate_bert)
    finish(path, folder / "runs")
    return path, folder / "runs"


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        pytest.param([], [1, 9, -1], id="pipelined"),
        pytest.param(["encoder.devices=[cpu, cpu]"], [1, 9], id="two-processes"),
    ],
)
def test_killed_anywhere_it_resumes_and_ends_with_the_same_bytes(
    whole: tuple[Path, Path], tmp_path: Path, settings: list[str], after: list[int]
) -> None:
    config, complete = whole
    expected = checksums(documents(complete))
    n_shards = len(expected)
    assert n_shards > 20
    for wanted in (n % n_shards for n in after):
        output = tmp_path / f"killed-{wanted}"
        process = subprocess.Popen(
            command(config, output, *settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while (
            process.poll() is None and len(list(output.glob(".cache/documents-*/shard-*"))) < wanted
        ):
            time.sleep(0.005)  # leaves the core to the process that is waited for
        workers = workers_of(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        patience = time.monotonic() + 60
        while any(worker.exists() for worker in workers):  # they end when nobody listens
            assert time.monotonic() < patience
            time.sleep(0.005)
        assert not (output / "many").exists()
        folder = documents(output)
        kept = {p.name: (p / "shard.json").stat().st_mtime_ns for p in folder.rglob("shard-*")}
        assert len(list(folder.glob("shard-*"))) >= wanted
        said = finish(config, output, *settings)
        if len(kept) != n_shards:
            assert "resuming after" in said
        assert {n: (folder / n / "shard.json").stat().st_mtime_ns for n in kept} == kept
        assert checksums(folder) == expected
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        assert (output / "many/run.trec").read_bytes() == (complete / "many/run.trec").read_bytes()


@pytest.mark.parametrize("settings", [[], ["encoder.devices=[cpu, cpu]"]], ids=["one", "two"])
def test_ctrl_c_is_one_message_and_leaves_nothing_running_or_half_done(
    config: Path, tmp_path: Path, settings: list[str]
) -> None:
    output = tmp_path / "runs"
    process = subprocess.Popen(
        command(config, output, *settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # tests that run in the background of a shell were told to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and not list(output.glob(".cache/documents-*/shard-*")):
        time.sleep(0.005)  # leaves the core to the process that is waited for
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert said.rstrip().endswith("run the same command again to resume")
    assert "Traceback" not in said
    assert not any(worker.exists() for worker in workers)
    assert not [path for path in output.rglob("*") if path.name.endswith(".tmp")]
    finish(config, output, *settings)
    EmbeddingStore(documents(output)).verify()


@pytest.mark.parametrize("limit", [100, 8_000, 12_000])
def test_a_full_disk_is_one_message_and_leaves_nothing_half_done(
    config: Path, tmp_path: Path, limit: int
) -> None:
    output = tmp_path / "runs"

    def small_disk() -> None:
        # a file beyond this size fails where a full disk would, with the same handling
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    full = subprocess.run(
        command(config, output), capture_output=True, text=True, check=False, preexec_fn=small_disk
    )
    assert full.returncode == 2, full.stderr
    assert "a file may not be that large" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (output / "many").exists()
    for shard in output.glob(".cache/*/shard-*"):
        assert (shard / "shard.json").is_file()
    assert not [path for path in output.rglob("*") if path.name.endswith(".tmp")]
    finish(config, output)
    EmbeddingStore(documents(output)).verify()
