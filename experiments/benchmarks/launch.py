"""Starts workers: each build and each series of searches is a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from collection import Collection
from settings import PACKAGES, PEERS, Setting, describe

import colmodern
from colmodern.files import sha256_of_file, sha256_of_json, write_json

_WORKER = Path(__file__).with_name("worker.py")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class WorkerFailed(Exception):
    """A worker broke or took too long; the message says which."""


class WorkerTimeout(WorkerFailed):
    """It was stopped after ``seconds``."""

    def __init__(self, task: str, seconds: float) -> None:
        super().__init__(f"{task} not finished in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Launcher:
    """Where and how long workers run."""

    collection: Collection
    peer_python: str
    build_threads: int
    build_timeout: float  # seconds
    search_timeout: float  # seconds
    rebuild: bool = False

    def build(self, engine: str, setting: Setting) -> dict[str, Any]:
        """Build, or find what an earlier call built: worker.build's answer and ``index``.

        Raises WorkerFailed when it did not finish in time, now or in an earlier call.
        """
        version = _source() if engine not in PEERS else self.version(engine)
        levels = [engine, self.collection.digest, setting.build, self.build_threads]
        folder = self.collection.folder / "indexes" / f"{engine}-{sha256_of_json(levels)[:12]}"
        answer, index = folder / "build.json", folder / "index"
        built = json.loads(answer.read_text()) if answer.is_file() else {}
        # a build that was stopped is tried again only with more time
        is_usable = "seconds" in built or built.get("stopped_after", 0) >= self.build_timeout
        if self.rebuild or not is_usable or built["version"] != version:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            request = self._request("build", engine, index, setting.build, self.build_threads)
            try:
                built = self._run(request, self.build_timeout)
            except WorkerTimeout:  # remembered: the next call need not wait for it again
                built = {"stopped_after": self.build_timeout}
                shutil.rmtree(index, ignore_errors=True)
            built |= {"setting": describe(setting), "version": version}
            write_json(answer, built)
        if "seconds" not in built:
            raise WorkerTimeout("build", built["stopped_after"])
        return {**built, "index": index}

    def search(
        self, engine: str, index: Path, setting: Setting, *, threads: int, k: int
    ) -> dict[str, Any]:
        """worker.search's answer. Raises WorkerFailed."""
        request = self._request("search", engine, index, setting.search, threads)
        return self._run({**request, "k": k}, self.search_timeout)

    def version(self, engine: str) -> str:
        """Of the engine's package, where it runs."""
        return _version(self._python(engine), PACKAGES[engine])

    def _python(self, engine: str) -> str:
        return self.peer_python if engine in PEERS else sys.executable

    def _request(
        self, task: str, engine: str, index: Path, options: dict[str, Any], threads: int
    ) -> dict[str, Any]:
        return {
            "task": task,
            "engine": engine,
            "documents": str(self.collection.documents.folder.resolve()),
            "queries": str(self.collection.queries.folder.resolve()),
            "index": str(index.resolve()),
            "options": options,
            "threads": threads,
        }

    def _run(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path, answer = Path(folder, "request.json"), Path(folder, "answer.json")
            path.write_text(json.dumps({**request, "answer": str(answer)}))
            command = [self._python(request["engine"]), str(_WORKER), str(path)]
            try:
                done = subprocess.run(
                    command,
                    env=thread_environment(request["threads"]),
                    timeout=timeout,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            except subprocess.TimeoutExpired as error:
                raise WorkerTimeout(request["task"], timeout) from error
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise WorkerFailed(f"{request['task']} ended with {done.returncode}: {last}")
            return json.loads(answer.read_text())


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables of a worker that may use so many threads."""
    return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


@cache
def _version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    command = [python, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@cache
def _source() -> str:
    """Changes with our own code: an index that older code built is not taken for today's."""
    root = Path(colmodern.__file__).parent
    return sha256_of_json([sha256_of_file(path) for path in sorted(root.rglob("*.py"))])
