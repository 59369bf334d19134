"""Keys of clients, and the headers that a request is admitted by."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from colmodern.errors import ConfigError
from colmodern.reading import read_lines

_LEAST_LENGTH = 16
_log = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Keys:
    """The keys that clients may have; none where requests need none."""

    def __init__(self, keys: Iterable[str]) -> None:
        # digests have equal lengths, so that comparing them takes the same time for any key
        self._digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, authorization: bytes) -> bool:
        """Whether the value of a header Authorization has one of the keys, in constant time."""
        scheme, _, key = authorization.partition(b" ")
        digest = _digest(key.strip())
        matches = [hmac.compare_digest(digest, own) for own in self._digests]
        return scheme.lower() == b"bearer" and any(matches)


def read_keys(path: Path | str | None) -> Keys:
    """Read the keys of a file, one a line; lines that begin with # are comments.

    Args:
        path: The file; None for no keys.

    Raises:
        ConfigError: The file cannot be read, has no key, or has one that is easily guessed.
    """
    if path is None:
        return Keys(())
    _warn_of_readers(Path(path))
    keys = []
    for number, line in read_lines(Path(path), ConfigError):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if len(key) < _LEAST_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                f"{path}: line {number} is no key: a key has at least {_LEAST_LENGTH} letters, digits "
                "and signs; make one with: openssl rand -hex 32"
            )
        keys.append(key)
    if not keys:
        raise ConfigError(f"{path} has no key; write one a line, made with: openssl rand -hex 32")
    return Keys(keys)


def _warn_of_readers(path: Path) -> None:
    """Warn of a file that every user of this machine can read."""
    if os.name == "posix" and path.exists() and path.stat().st_mode & stat.S_IROTH:
        _log.warning("%s can be read by every user of this machine; run chmod o= on it", path)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
