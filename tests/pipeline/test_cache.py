from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colmodern.errors import InputError, StorageError
from colmodern.pipeline.cache import CacheUse, list_entries, parse_age, prune

KEPT, FREE, BUILDING = "documents-" + "a" * 16, "search-" + "b" * 16, "index-" + "c" * 16


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder of one run that needs KEPT, beside stages that no run needs."""
    cache = tmp_path / "runs" / ".cache"
    for name in (KEPT, FREE, f".{BUILDING}.building"):
        (cache / name).mkdir(parents=True)
        (cache / name / "values").write_bytes(b"x" * 1000)
    (cache / f"{BUILDING}.json").write_text("{}")
    (cache / "notes.txt").write_text("mine")
    run = tmp_path / "runs" / "one"
    run.mkdir()
    (run / "config.yaml").write_text("")
    environment = {"embeddings": {"documents": f"../.cache/{KEPT}"}, "index": None}
    (run / "environment.json").write_text(json.dumps(environment))
    return tmp_path / "runs"


def names(output: Path) -> set[str]:
    return {path.name for path in (output / ".cache").iterdir()} - {".lock", ".uses"}


def test_entries_say_their_size_and_the_runs_that_need_them(output: Path) -> None:
    entries = {entry.name: entry for entry in list_entries(output)}
    assert set(entries) == {KEPT, FREE, BUILDING}
    assert entries[KEPT].runs == ("one",)
    assert entries[FREE].runs == ()
    assert entries[BUILDING].n_bytes == 1002
    assert not any(entry.is_held for entry in entries.values())


def test_what_no_run_needs_is_pruned_and_nothing_else(output: Path) -> None:
    assert {entry.name for entry in prune(output, dry_run=True)} == {FREE, BUILDING}
    assert {entry.name for entry in prune(output)} == {FREE, BUILDING}
    assert names(output) == {KEPT, "notes.txt"}
    assert (output / "one" / "environment.json").is_file()
    assert {entry.name for entry in prune(output, with_runs=True)} == {KEPT}
    assert names(output) == {"notes.txt"}


def test_age_and_patterns_keep_entries(output: Path) -> None:
    assert prune(output, older_than=3600) == []
    os.utime(output / ".cache" / FREE, (0, time.time() - 7200))
    assert prune(output, older_than=3600, keep=["search"]) == []
    assert [entry.name for entry in prune(output, older_than=3600)] == [FREE]
    assert prune(output, keep=["index-*"]) == []


def test_what_an_evaluation_at_work_holds_is_not_pruned(output: Path) -> None:
    use = CacheUse(output / ".cache")
    use.hold(FREE)
    assert {entry.name for entry in list_entries(output) if entry.is_held} == {FREE}
    assert {entry.name for entry in prune(output, with_runs=True)} == {KEPT, BUILDING}
    del use
    assert [entry.name for entry in prune(output)] == [FREE]


def test_what_was_killed_on_any_host_is_cleared_when_nobody_is_at_work(output: Path) -> None:
    cache = output / ".cache"
    left = cache / f".{FREE}.pod-a.1.tmp"
    left.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from colmodern.pipeline.cache import CacheUse\n"
        f"use = CacheUse(Path({str(cache)!r})); use.hold({KEPT!r}); os.kill(os.getpid(), 9)"
    )
    other = CacheUse(cache)
    left.mkdir(exist_ok=True)
    CacheUse(cache)
    assert left.is_dir()  # it may be what the other writes, on another host
    del other
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not left.exists()
    assert not any(entry.is_held for entry in list_entries(output))
    CacheUse(cache)
    assert list((cache / ".uses").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("1.5h", 5400), ("2W", 1_209_600)]
)
def test_ages_are_read(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "-1d", "d", "1y"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="older-than"):
        parse_age(text)


def test_a_run_that_cannot_be_read_stops_pruning(output: Path) -> None:
    (output / "one" / "environment.json").write_text("{")
    with pytest.raises(StorageError, match="not JSON"):
        prune(output)
    assert FREE in names(output)


def test_a_link_in_the_place_of_the_records_is_not_followed(output: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("photos", "host.5.0123abcd"):
        (home / name).mkdir(parents=True)
        (home / name / "precious").write_text("mine")
    (output / ".cache" / ".uses").symlink_to(home)
    for use in (
        CacheUse,
        lambda cache: prune(cache.parent),
        lambda cache: list_entries(cache.parent),
    ):
        with pytest.raises(StorageError, match=r"\.uses is a link"):
            use(output / ".cache")
    (output / ".cache" / ".uses").unlink()
    (output / ".cache" / ".uses").mkdir()
    (output / ".cache" / ".uses" / "host.6.0123abcd").symlink_to(home / "photos")
    (home / "photos").rename(output / ".cache" / ".uses" / "photos")
    CacheUse(output / ".cache")
    prune(output)
    assert (output / ".cache" / ".uses" / "photos" / "precious").read_text() == "mine"
    assert [path.name for path in home.rglob("*")] == ["host.5.0123abcd", "precious"]


@pytest.mark.parametrize("place", ["\0", 5, None, "x" * 5000])
def test_a_place_that_can_be_no_path_names_no_entry(output: Path, place: object) -> None:
    record = output / "one" / "environment.json"
    record.write_text(json.dumps({"embeddings": {"documents": place}, "index": place}))
    assert {entry.runs for entry in list_entries(output)} == {()}


def test_a_damaged_run_is_named_and_the_rest_listed(
    output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = output / "two"
    damaged.mkdir()
    (damaged / "config.yaml").write_text("")
    (damaged / "environment.json").write_text("{")
    entries = {entry.name: entry.runs for entry in list_entries(output)}
    assert entries[KEPT] == ("one",)
    assert "two/environment.json is not JSON" in caplog.text
    with pytest.raises(StorageError, match=r"two/environment\.json is not JSON"):
        prune(output)
