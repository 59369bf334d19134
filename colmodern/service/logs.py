"""The log of requests: one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

from colmodern.checks import visible_json

ACCESS = logging.getLogger("colmodern.service.access")


def log_request(
    *, request: dict[str, object], facts: dict[str, object], level: int | None, is_slow: bool
) -> None:
    """Log a request that was answered.

    Args:
        request: What is logged of every request.
        facts: What is logged beside it of a slow one.
        level: Level of its line in the log; None for no line.
        is_slow: Whether it took longer than the settings call slow, which is a line of its own.
    """
    if level is not None:
        ACCESS.log(level, "request", extra={"fields": request})
    if is_slow:
        ACCESS.warning("slow request", extra={"fields": {**request, **facts}})


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON, with the fields that it carries."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the record holds."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return visible_json(json.dumps(line, ensure_ascii=False, default=str))
