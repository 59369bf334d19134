"""Finished searches in OUTPUT/.cache: a TREC run each, with what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colmodern.environment import describe_environment
from colmodern.errors import StorageError
from colmodern.evaluation.trec import write_run
from colmodern.files import (
    read_json_object,
    sha256_of_file,
    sha256_of_json,
    staging,
    write_json,
)
from colmodern.pipeline.result import Timing

if TYPE_CHECKING:
    from colmodern.pipeline.searchers.base import SearchResults, Workspace

RUN = "run.trec"
_FORMAT = 1  # to be raised when the same embeddings begin to give other results
_SEARCH = "search.json"
_CURE = "delete the folder and run again"


def search_once(
    workspace: Workspace,
    stage: str,
    key: Sequence[object],
    kind: str,
    query_ids: Sequence[str],
    find: Callable[[], SearchResults],
) -> tuple[Path, dict[str, object]]:
    """Search and keep the run, or take the one that an earlier call left.

    Args:
        workspace: Holds the folder, and records what the search cost.
        stage: Name of the stage in timings and notes.
        key: All that the results depend on.
        kind: Way of searching, which names the TREC run.
        query_ids: Queries in the order of the results.
        find: Searches.

    Returns:
        The folder, whose RUN has the results, and what is recorded of the search.

    Raises:
        StorageError: The files of an earlier search are not what was written.
    """
    folder = workspace.folder("search", sha256_of_json([_FORMAT, *key]))
    if reused := folder.is_dir():
        workspace.progress.note(f"{stage}: reused {folder}")
    else:
        outcome = find()
        with staging(folder) as staged:
            run = dict(zip(query_ids, outcome.results, strict=True))
            write_run(staged / RUN, run, tag=f"colmodern-{kind}")
            made = {
                "seconds": outcome.seconds,
                "latencies": outcome.latencies,
                "sha256": sha256_of_file(staged / RUN),
                "environment": describe_environment(),
            }
            write_json(staged / _SEARCH, made)
    record = _read_record(folder)
    timing = Timing(record["seconds"], len(query_ids), "queries", reused)
    workspace.record(stage, timing, record["environment"])
    return folder, record


def _read_record(folder: Path) -> dict[str, Any]:
    """What is recorded of a finished search.

    Raises StorageError when its files are not what was written.
    """
    record = read_json_object(folder / _SEARCH, StorageError, cure=_CURE)
    run = folder / RUN
    # searches of earlier versions have no latencies
    if not record.keys() >= {"seconds", "sha256", "environment"} or not run.is_file():
        raise StorageError(f"{folder} is damaged; {_CURE}")
    if sha256_of_file(run) != record["sha256"]:
        raise StorageError(f"{run} differs from its checksum; {_CURE}")
    return record
