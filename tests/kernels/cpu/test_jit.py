from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.runtime import _nrt_python, rtsys

from colmodern.kernels.cpu import inner, jit

SCRIPT = """
import json, sys
import numpy as np
from colmodern.kernels.cpu.gather import keep_best
from colmodern.kernels.cpu.jit import tell_if_compiling

told = []
tell_if_compiling(told.append)
n_found = len(keep_best(np.array([3, 1, 2], np.int32), 2))
tell_if_compiling(told.append)
hits, misses = keep_best.stats.cache_hits, keep_best.stats.cache_misses
json.dump([told, n_found, sum(hits.values()), sum(misses.values())], sys.stdout)
"""


def search_once(cache: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "COLMODERN_CACHE": str(cache)},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def kept_files(cache: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in cache.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_a_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    told, n_found, hits, misses = search_once(tmp_path)
    assert n_found == 2
    assert (hits, misses) == (0, 1)
    assert len(told) == 1
    assert str(tmp_path) in told[0]
    files = kept_files(tmp_path)
    assert {Path(name).suffix for name in files} == {".nbi", ".nbc"}

    assert search_once(tmp_path) == [[], 2, 1, 0]
    assert kept_files(tmp_path) == files


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jit.cache_folder.__wrapped__
    monkeypatch.setenv("COLMODERN_CACHE", str(tmp_path))
    assert folder().parent == tmp_path / "kernels"
    monkeypatch.delenv("COLMODERN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for platform, variable in (("win32", "LOCALAPPDATA"), ("linux", "XDG_CACHE_HOME")):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv(variable, str(tmp_path / platform))
        assert folder().parent == tmp_path / platform / "colmodern" / "kernels"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert folder().parent == Path.home() / "Library/Caches/colmodern/kernels"


def test_it_is_told_which_kernel_is_not_kept_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "kept_in", lambda: tmp_path)
    (tmp_path / "cpu.collect-7.py311.1.nbc").touch()
    told: list[str] = []
    jit.tell_if_compiling(told.append)
    jit.tell_if_compiling(told.append, kernel="collect")
    assert told == []
    jit.tell_if_compiling(told.append, kernel="prepare_query")
    assert len(told) == 1


def test_a_folder_that_cannot_be_written_is_replaced_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(jit, "cache_folder", lambda: tmp_path / "file" / "kernels")
    kept = jit.kept_in.__wrapped__()
    assert kept is not None
    kept.mkdir(parents=True)
    assert caplog.text.count("cannot be kept") == 1
    jit._remove(str(kept.parents[1]), os.getpid() + 1)  # of a forked process
    assert kept.is_dir()
    jit._remove(str(kept.parents[1]), os.getpid())
    assert not kept.exists()


def test_a_user_without_a_home_is_told_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(jit, "cache_folder", no_home)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(OSError("full")))
    assert jit.kept_in.__wrapped__() is None
    assert "home directory" in caplog.text


def test_every_compiled_source_counts_in_the_name_of_the_cache() -> None:
    folder = Path(jit.__file__).parent
    compiled = [
        path
        for path in folder.parents[1].rglob("*.py")
        if "import compiled\n" in path.read_text() or "@intrinsic" in path.read_text()
    ]
    assert compiled
    assert all(folder in path.parents for path in compiled)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_cycles_are_not_collected_while_a_kernel_compiles(
    is_enabled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "kept_in", lambda: tmp_path)
    during: list[bool] = []

    class Passes(event.Listener):
        def on_start(self, event: Any) -> None:
            during.append(gc.isenabled())

        def on_end(self, event: Any) -> None:
            pass

    (gc.enable if is_enabled else gc.disable)()
    try:
        with event.install_listener("numba:run_pass", Passes()):
            assert jit.compiled(lambda x: x + 1)(1) == 2
        after = [gc.isenabled()]
        with pytest.raises(numba.TypingError):
            jit.compiled(lambda x: x.nothing)(1)
        after.append(gc.isenabled())
    finally:
        gc.enable()
    assert during
    assert not any(during)
    assert after == [is_enabled, is_enabled]


def _new_arrays(n_rows: int) -> tuple[Any, Any]:
    return np.empty((n_rows, 3), np.float32), np.zeros(n_rows, np.int8)


def test_new_arrays_begin_with_a_cache_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "kept_in", lambda: tmp_path)
    new_arrays = jit.compiled(_new_arrays)
    kept = [array for n_rows in range(1, 40) for array in new_arrays(n_rows)]
    assert {array.ctypes.data % 64 for array in kept} == {0}


_first = jit.borrowing(lambda values: np.asarray(values)[0])


def _first_and_ones(values: Any) -> tuple[Any, Any]:
    ones = np.ones(values.size, np.int64)
    return _first(values), np.asarray(ones)


def test_a_function_that_counts_references_shares_no_call_with_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "kept_in", lambda: tmp_path)
    first_and_ones = jit.compiled(_first_and_ones)
    values = np.full(4, 7, np.int64)
    assert first_and_ones(values)[0] == 7
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats()
        ones = [first_and_ones(values)[1] for _ in range(10)]
        after = rtsys.get_allocation_stats()
    finally:
        _nrt_python.memsys_disable_stats()
    n_made, n_freed = after.mi_alloc - before.mi_alloc, after.mi_free - before.mi_free
    assert n_made - n_freed == len(ones)


def test_deep_calls_take_memory_for_the_stack_once() -> None:
    resource = pytest.importorskip("resource", reason="page faults are counted on Unix only")

    def call_often(depth: int) -> None:
        if depth:
            call_often(depth - 1)
        else:
            for _ in range(2000):
                max((1,), key=lambda number: number)

    def new_pages(depth: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        call_often(depth)
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    pages = inner._call_with_room(lambda: [new_pages(depth) for depth in range(0, 300)])
    assert max(pages) < 1000
