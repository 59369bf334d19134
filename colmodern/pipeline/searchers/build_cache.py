"""Indexes in OUTPUT/.cache: built once, resumed after an interruption, checked when reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from colmodern.environment import describe_environment
from colmodern.errors import StorageError
from colmodern.files import read_json_object, sha256_of_file, write_json
from colmodern.index.plaid.disk.manifest import NAME, building_folder
from colmodern.pipeline.result import Timing
from colmodern.pipeline.searchers.base import Workspace


def build_once(
    folder: Path,
    build: Callable[[], object],
    check: Callable[[], None],
    *,
    name: str = NAME,
) -> tuple[dict[str, object], bool]:
    """Build an index into ``folder``, unless an earlier call did.

    Args:
        folder: Folder of the index.
        build: Builds it there, over what an interrupted call left.
        check: Reads all of a finished index; raises StorageError when it is damaged.
        name: Its manifest.

    Returns:
        "seconds" and "environment" of its making, and whether it was there already.

    Raises:
        StorageError: It is damaged, or was changed since.
    """
    record_file = folder.with_name(f"{folder.name}.json")  # FOLDER itself is the index's own
    cure = f"delete {folder} and run again"
    begun = folder.is_dir() or building_folder(folder).is_dir()
    earlier = (
        read_json_object(record_file, StorageError, cure=cure)
        if record_file.is_file() and begun
        else {}
    )
    if folder.is_dir() and "manifest_sha256" in earlier:
        if sha256_of_file(folder / name) != earlier["manifest_sha256"]:
            raise StorageError(f"{folder} was changed since it was built; {cure}")
        check()
        return earlier, True
    start = time.perf_counter()

    def made() -> dict[str, object]:
        seconds = earlier.get("seconds", 0.0) + time.perf_counter() - start
        return {"seconds": seconds, "environment": describe_environment()}

    try:
        build()
    except KeyboardInterrupt:
        # the build is resumed later, and what it has cost so far counts
        write_json(record_file, made())
        raise
    finished = {**made(), "manifest_sha256": sha256_of_file(folder / name)}
    write_json(record_file, finished)
    return finished, False


def record_build(
    workspace: Workspace,
    stage: str,
    folder: Path,
    built: tuple[Mapping[str, Any], bool],
    n: int,
    unit: str,
) -> None:
    """Keep what a build cost, and say where an earlier one was reused.

    Args:
        workspace: Keeps it.
        stage: Name of the build.
        folder: The index.
        built: As ``build_once`` returned it.
        n: What was built from: a number of documents or tokens.
        unit: Their name.
    """
    record, is_reused = built
    timing = Timing(record["seconds"], n, unit, is_reused)
    workspace.record(stage, timing, record["environment"])
    if is_reused:
        workspace.progress.note(f"{stage}: reused {folder}")
