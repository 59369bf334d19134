"""A server in a process of its own: started, waited for, watched and ended."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ServerProcess:
    """A process that listens on 127.0.0.1; a context manager that ends it with SIGTERM.

    Attributes:
        port: Its port.
        pid: Its process.
    """

    def __init__(self, command: Sequence[str], log: Path, port: int, *, path: str) -> None:
        """Start it, and wait until ``path`` answers 200; its output goes to ``log``."""
        self.port = port
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(command, stdout=stream, stderr=stream)
        self.pid = self._process.pid
        self._wait(path)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def terminate(self) -> None:
        """Send SIGTERM, and go on."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 60) -> int:
        """The exit status, when it has ended."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """End it: with SIGTERM, and by force after a minute."""
        if self._process.poll() is not None:
            return
        self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def cpu_s(self) -> float:
        """Seconds that all its threads have worked."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _wait(self, path: str) -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                if status_of(self.port, path) == http.client.OK:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.end()
        tail = self._log.read_text(errors="replace")[-2000:]
        raise click.ClickException(f"the server does not answer {path}:\n{tail}")


def colmodern_server(
    log: Path, indexes: dict[str, Path], *options: str, port: int | None = None
) -> ServerProcess:
    """``colmodern serve`` with colmodern/tiny and these collections.

    Args:
        log: File of its log.
        indexes: Folders by name.
        *options: Further options of the command.
        port: Its port; default a free one.
    """
    port = free_port() if port is None else port
    command = [sys.executable, "-m", "colmodern", "serve", "--model", "colmodern/tiny"]
    command += ["--device", "cpu", "--port", str(port), *options]
    for name, folder in indexes.items():
        command += ["--index", f"{name}={folder}"]
    return ServerProcess(command, log, port, path="/ready")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def status_of(port: int, path: str) -> int:
    """Status of a GET; OSError where nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
