"""Text for people, without control characters that a terminal would act upon."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import click

from colmodern.checks import visible, visible_json


def say(message: object) -> None:
    """Print a message for a person on stderr."""
    click.echo(visible(message, lines=True), err=True)


def put(line: object = "") -> None:
    """Print a line of results on stdout."""
    click.echo(visible(line, lines=True))


def put_or_write(text: str, output: Path | None) -> None:
    """Print a text on stdout, or write it to a file and print where that is."""
    if output is None:
        put(text)
        return
    from colmodern.files import write_text

    write_text(output, text)
    put(output)


def put_notes(notes: Iterable[str]) -> None:
    """Print remarks after the tables on stdout."""
    for note in notes:
        put(f"# {note}" if is_piped() else note)


def put_json(value: Any) -> None:
    """Print JSON on stdout; control characters are escaped as JSON escapes them."""
    text = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(sys.stdout))
    click.echo(visible_json(text))


def is_piped() -> bool:
    """Whether stdout goes to a program or a file; a line is then a row or a remark ("# ")."""
    from rich.console import Console

    return not Console().is_terminal


def prepare_streams() -> None:
    """Make stdout and stderr take any character, and keep closed descriptors from being reused."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # the next file to be opened would receive what libraries print
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def prepare_logging() -> None:
    """Show warnings on stderr, like all messages for a person."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def flush() -> None:
    """Write what is buffered.

    Raises:
        OSError: the stream cannot be written, or its reader has ended.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def is_reader_gone() -> bool:
    """Whether the program that reads stdout or stderr, such as ``head``, has ended."""
    return any(_is_broken(stream) for stream in (sys.stdout, sys.stderr) if stream is not None)


def give_up_output() -> None:
    """Discard what is still buffered, so that the process ends without complaining about it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record), lines=True)


def _is_unicode(stream: TextIO | None) -> bool:
    name = (getattr(stream, "encoding", None) or "ascii").lower()
    return name.replace("-", "").replace("_", "").startswith("utf")


def _is_broken(stream: TextIO) -> bool:
    if not hasattr(select, "poll"):
        return True  # Windows: nothing else breaks a pipe there
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
