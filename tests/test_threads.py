from __future__ import annotations

import os
from threading import Event, Thread

import pytest

from colmodern.threads import ForkSafeLock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("is_forked_by_holder", [True, False])
def test_a_forked_process_has_a_lock_free_that_its_parent_holds(is_forked_by_holder: bool) -> None:
    lock, is_held, may_end = ForkSafeLock(), Event(), Event()

    def hold() -> None:
        with lock.held():
            is_held.set()
            may_end.wait()

    def child() -> bool:
        with lock.held():
            return True

    if is_forked_by_holder:
        with lock.held():
            assert _status_of(child) == 0
    else:
        thread = Thread(target=hold)
        thread.start()
        is_held.wait()
        assert _status_of(child) == 0
        may_end.set()
        thread.join()


def _status_of(work) -> int:
    """What a forked process exits with, which has two seconds."""
    pid = os.fork()
    if pid == 0:
        import signal

        signal.alarm(2)
        os._exit(0 if work() else 1)
    return os.waitpid(pid, 0)[1]
