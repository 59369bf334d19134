from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from colmodern.errors import DataError, MissingExtraError, ResourceError, StorageError
from colmodern.pipeline import machine_faults
from colmodern.pipeline.machine_faults import explain_fault, is_disk_full, is_of_environment

FAULTS = {
    "memory": (MemoryError(), "out of memory"),
    "torch": (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "out of memory"),
    "a library": (ImportError("x.so: failed to map segment from shared object"), "out of memory"),
    "threads": (RuntimeError("can't start new thread"), "OMP_NUM_THREADS=1"),
    "fork": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    "files": (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n"),
    "disk": (OSError(errno.ENOSPC, "No space left on device", "x"), "disk full while writing x"),
    "read only": (OSError(errno.EROFS, "Read-only file system", "x"), "x: the file system"),
    "rights": (PermissionError(errno.EACCES, "Permission denied", "x"), "x: no permission"),
    "temporary": (FileNotFoundError(errno.ENOENT, "No usable temporary directory"), "TMPDIR"),
    "home": (RuntimeError("Could not determine home directory."), "without ~"),
    "semaphores": (OSError(errno.ENOSYS, "Function not implemented"), "/dev/shm"),
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_of_the_machine_says_what_is_missing(name: str) -> None:
    error, expected = FAULTS[name]
    line = explain_fault(error)
    assert line is not None
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("memory"), RuntimeError("shape"), ZeroDivisionError()]
)
def test_any_other_fault_is_ours(error: Exception) -> None:
    assert explain_fault(error) is None


def raised(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except type(error) as result:
        return result


def test_the_environment_is_told_from_a_single_set() -> None:
    full = raised(StorageError("disk full"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    away = raised(DataError("hub"), ConnectionError("no route"))
    assert is_disk_full(full)
    assert not is_disk_full(away)
    assert all(map(is_of_environment, (full, away, MissingExtraError("pip install"))))
    assert not is_of_environment(DataError("line 7"))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
def test_a_limit_of_address_space_is_said_before_compiled_code_dies_of_it() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    machine_faults.check_address_space(10**9, "work")  # without a limit
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 500_000_000, before[1]))
    try:
        machine_faults.check_address_space(100_000_000, "work")
        with pytest.raises(
            ResourceError, match=r"work needs about 900 MB .*\(ulimit -v\), or less"
        ):
            machine_faults.check_address_space(900_000_000, "work", cure=", or less")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
