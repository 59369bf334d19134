"""The files that a checkpoint's embeddings depend on: their digests, and changes to them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

from safetensors import SafetensorError

from colmodern.errors import CheckpointError
from colmodern.files import sha256_of_file, sha256_of_json

# files of the backbone's folder that change its output
_RULES = (
    *("config.json", "tokenizer*.json", "vocab.*", "merges.txt", "*.model", "*.py"),
    *("special_tokens_map.json", "added_tokens.json", "adapter_config.json", "bpe.codes"),
)
# in the order in which transformers looks for them
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
# errors of transformers, safetensors and torch's unpickler for damaged or foreign files
DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError),
    *(ArithmeticError, EOFError, ImportError, struct.error, UnpicklingError, SafetensorError),
)


class FileState(NamedTuple):
    """State of a file in the file system; links are followed."""

    device: int
    inode: int
    n_bytes: int
    mtime_ns: int


class Digests(NamedTuple):
    """SHA-256 digests, in hexadecimal, of the files of a checkpoint.

    Attributes:
        weights: Digest over the bytes of all weight files.
        rules: Name and digest of each file of the tokenizer, the configuration and code.
    """

    weights: str
    rules: list[list[str]]


class CheckpointFiles:
    """The files that embeddings depend on, in their state when this object was made."""

    def __init__(self, backbone: Path, dense: Sequence[Path]) -> None:
        """Record the state of the files, before they are loaded.

        Args:
            backbone: The backbone's folder.
            dense: Folders of the projection's layers, in order.

        Raises:
            CheckpointError: The backbone has no weight file.
        """
        self._backbone = backbone
        self._weights = [file for x in dict.fromkeys((backbone, *dense)) for file in _weights_of(x)]
        if not _weights_of(backbone):
            raise CheckpointError(
                f"{backbone} has no weights ({', '.join(_WEIGHTS)}); fetch the checkpoint again"
            )
        self._rules = sorted({file for name in _RULES for file in _files(backbone, name)})
        self._sums: dict[Path, str] = {}  # weight file -> its digest, once it is read
        self._states = {file: _state_of(file) for file in (*self._weights, *self._rules)}

    def digests(self) -> Digests:
        """Read every file and compute the digests."""
        self._sums = {file: _sha256(file) for file in self._weights}
        weights = sha256_of_json([self._sums[file] for file in self._weights])
        return Digests(weights, [[file.name, _sha256(file)] for file in self._rules])

    def check_unchanged(self) -> None:
        """Check, after loading, that no file has changed.

        Raises:
            CheckpointError: A file was written or replaced since this object was made.
        """
        for file, before in self._states.items():
            if _state_of(file) != before:
                raise CheckpointError(
                    f"{file} was written while it was loaded; load the checkpoint again"
                )

    def check_not_overwritten(self) -> None:
        """Check that no weight file was written in place, which would change mapped weights.

        A file that was replaced or removed is fine: the mapping keeps the old one. So is a file
        with the same bytes as before.

        Raises:
            CheckpointError: A weight file has the same inode and another size or time.
        """
        for file in self._weights:
            before = self._states[file]
            try:
                now = _state_of(file)
            except CheckpointError:
                continue
            if now == before or now[:2] != before[:2]:
                continue
            if now.n_bytes == before.n_bytes and _sha256(file) == self._sums.get(file):
                self._states[file] = now
            else:
                raise CheckpointError(
                    f"{file} was written over in place while its weights were in use; load the "
                    "checkpoint again (and write new weights to another file, then rename it)"
                )


def _weights_of(folder: Path) -> list[Path]:
    """Weight files of a folder; pickled copies are left out where there are safetensors."""
    files = set(_files(folder, "*.safetensors")) or set(_files(folder, "*.bin"))
    first = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if first is not None:
        files |= _shards(first) if first.suffix == ".json" else {first}
    return sorted(files)


def _files(folder: Path, pattern: str) -> list[Path]:
    return [file for file in folder.glob(pattern) if file.is_file()]


def _shards(index: Path) -> set[Path]:
    try:
        names = json.loads(index.read_text("utf-8"))["weight_map"].values()
        shards = {index.parent / str(name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is not an index of weight files ({error}); fetch the checkpoint again"
        ) from error
    for shard in sorted(shards):
        if not shard.is_file():
            raise CheckpointError(
                f"{index.parent} lacks {shard.name}, which {index.name} lists; fetch the "
                "checkpoint again"
            )
    return shards


def _state_of(file: Path) -> FileState:
    try:
        state = file.stat()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {file}: {error.strerror}; fetch the checkpoint again"
        ) from error
    return FileState(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _sha256(file: Path) -> str:
    try:
        return sha256_of_file(file)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {file}: {error.strerror}; fetch the checkpoint again"
        ) from error
