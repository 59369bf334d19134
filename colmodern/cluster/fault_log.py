"""Faults that every search of a gateway meets, in the log once in a while."""

from __future__ import annotations

import logging
import time
from threading import Lock

_AGAIN_S = 600.0  # seconds until a fault that stays is logged again


class FaultLog:
    """Logs each fault in one line, and the same one at most every ten minutes; for many threads.

    Args:
        log: Where lines go.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = Lock()
        self._said: dict[str, float] = {}  # line -> when it is due again

    def error(self, shard: str, error: Exception, *, with_traceback: bool = False) -> None:
        """Log what kept a shard from answering."""
        cause = " ".join(str(error).split()) or type(error).__name__
        named = cause if cause.startswith(shard) else f"{shard}: {cause}"
        if self._is_due(named):
            self._log.error("a shard failed: %s", named, exc_info=error if with_traceback else None)

    def _is_due(self, line: str) -> bool:
        now = time.monotonic()
        with self._lock:
            self._said = {said: due for said, due in self._said.items() if due > now}
            is_due = line not in self._said
            if is_due:
                self._said[line] = now + _AGAIN_S
            return is_due
