from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.errors import StorageError
from colmodern.pipeline.run_folder import check_publishable, is_run, publishing
from colmodern.writer_lock import writer_lock

CONFIG = "name: x\n"


class Killed(BaseException):
    """In the place of a signal: nothing of ours runs after it."""


def publish(folder: Path, text: str = "new", config: str = CONFIG) -> Path | None:
    with publishing(folder, config) as (staged, aside):
        (staged / "config.yaml").write_text(config)
        (staged / "environment.json").write_text("{}")
        (staged / "report.html").write_text(text)
    return aside


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a person's file in it."""
    folder = tmp_path / "runs" / "x"
    publish(folder, "old")
    (folder / "notes.txt").write_text("mine")
    return folder


def half_done(run: Path, *, is_swapped: bool) -> None:
    """The state that a kill leaves: after the first rename, or after the second."""
    working = run.with_name(".x.publishing")
    (working / "new").mkdir(parents=True)
    (working / "new" / "report.html").write_text("half")
    run.rename(working / "replaced")
    if is_swapped:
        (working / "new").rename(run)
        for name in ("config.yaml", "environment.json"):
            (run / name).write_bytes((working / "replaced" / name).read_bytes())


@pytest.mark.parametrize("is_swapped", [False, True])
def test_a_half_done_publishing_is_finished_by_the_next(run: Path, is_swapped: bool) -> None:
    half_done(run, is_swapped=is_swapped)
    assert publish(run) is None
    assert (run / "report.html").read_text() == "new"
    assert (run / "notes.txt").read_text() == "mine"
    assert [path.name for path in run.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("is_swapped", [False, True])
def test_a_half_done_publishing_is_finished_by_whoever_reads_the_run(
    run: Path, is_swapped: bool
) -> None:
    half_done(run, is_swapped=is_swapped)
    assert is_run(run)
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "report.html").read_text() == ("half" if is_swapped else "old")
    assert [path.name for path in run.parent.iterdir()] == ["x"]


def test_what_another_process_publishes_is_left_to_it(run: Path) -> None:
    half_done(run, is_swapped=False)
    with writer_lock(run.with_name(".x.publishing")):
        assert not is_run(run)
        with pytest.raises(StorageError, match="another process"):
            publish(run)
    assert is_run(run)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, Killed])
def test_a_failure_leaves_the_run_as_it_was(run: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with publishing(run, CONFIG) as (staged, _):
            (staged / "report.html").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert (run / "report.html").read_text() == "old"
    assert [path.name for path in run.parent.iterdir()] == ["x"]


def test_a_run_of_another_config_is_moved_aside_with_the_files_in_it(run: Path) -> None:
    assert publish(run, config="name: y\n") == run.with_name("x.1")
    assert (run.with_name("x.1") / "notes.txt").read_text() == "mine"
    assert not (run / "notes.txt").exists()


def test_a_run_that_is_a_link_is_written_where_it_leads(run: Path, tmp_path: Path) -> None:
    target = run.rename(tmp_path / "elsewhere")
    run.symlink_to(target)
    check_publishable(run)
    publish(run)
    assert run.is_symlink()
    assert (target / "report.html").read_text() == "new"
    assert (target / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "runs"]


def test_a_link_to_nothing_is_made_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "there" / "x")
    check_publishable(tmp_path / "x")
    publish(tmp_path / "x")
    assert is_run(tmp_path / "there" / "x")


def test_a_working_folder_that_is_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "others" / "new").mkdir(parents=True)
    (tmp_path / "others" / "new" / "file").write_text("")
    run.with_name(".x.publishing").symlink_to(tmp_path / "others")
    with pytest.raises(StorageError, match="is a link"):
        publish(run)
    assert (tmp_path / "others" / "new" / "file").exists()


@pytest.mark.parametrize("is_file", [True, False])
def test_what_is_no_run_is_refused(tmp_path: Path, is_file: bool) -> None:
    place = tmp_path / "x"
    place.write_text("") if is_file else place.mkdir()
    with pytest.raises(StorageError, match="not a run"):
        check_publishable(place)


def test_a_link_in_the_place_of_the_working_folder_is_refused_before_any_work(
    tmp_path: Path,
) -> None:
    (tmp_path / ".x.publishing").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="is a link and would be followed; delete it"):
        check_publishable(tmp_path / "x")


def test_a_run_whose_config_is_damaged_is_kept_aside(run: Path) -> None:
    (run / "config.yaml").write_bytes(b"\xff\0")
    publish(run)
    assert (run / "config.yaml").read_bytes() != b"\xff\0"
    assert (run.with_name(f"{run.name}.1") / "config.yaml").read_bytes() == b"\xff\0"
