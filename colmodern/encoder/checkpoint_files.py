"""Which files a checkpoint's embeddings depend on, their digests, and whether they changed since."""

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

# files of the backbone's folder that change what it computes
_RULES = (
    *("config.json", "tokenizer*.json", "vocab.*", "merges.txt", "*.model", "*.py"),
    *("special_tokens_map.json", "added_tokens.json", "adapter_config.json", "bpe.codes"),
)
# in the order in which transformers looks for them
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
# what transformers, safetensors and torch's reader of pickles raise for damaged or foreign files
DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError),
    *(ArithmeticError, EOFError, ImportError, struct.error, UnpicklingError, SafetensorError),
)


class FileState(NamedTuple):
    """What the file system says of a file; links are followed."""

    device: int
    inode: int
    n_bytes: int
    mtime_ns: int


class Digests(NamedTuple):
    """SHA-256 digests, in hexadecimal, of the files that a checkpoint is loaded from.

    weights: over the bytes of all weight files
    rules: over names and bytes of tokenizer, configuration and code
    """

    weights: str
    rules: list[list[str]]


class CheckpointFiles:
    """The files that embeddings depend on, as they were when this object was made."""

    def __init__(self, backbone: Path, dense: Sequence[Path]) -> None:
        """Look at the files, before they are loaded.

        Args:
            backbone: Folder of the backbone.
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
        self._sums: dict[Path, str] = {}  # of weight files, once they are read
        self._states = {file: _state_of(file) for file in (*self._weights, *self._rules)}

    def digests(self) -> Digests:
        """Read every file and compute its digest."""
        self._sums = {file: _sha256(file) for file in self._weights}
        weights = sha256_of_json([self._sums[file] for file in self._weights])
        return Digests(weights, [[file.name, _sha256(file)] for file in self._rules])

    def check_unchanged(self) -> None:
        """Check, after loading, that files and digests are of the same state.

        Raises:
            CheckpointError: A file was written or replaced meanwhile.
        """
        for file, before in self._states.items():
            if _state_of(file) != before:
                raise CheckpointError(
                    f"{file} was written while it was loaded; load the checkpoint again"
                )

    def check_not_overwritten(self) -> None:
        """Check that no weight file was written in place, which changes weights that are mapped.

        A file that was replaced or removed is fine: the mapping holds on to the old one. So is one
        that has the same bytes as before.

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
    """Weight files of a folder; a pickled copy is not read where safetensors are there."""
    files = set(_files(folder, "*.safetensors")) or set(_files(folder, "*.bin"))
    chosen = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if chosen is not None:
        files |= _shards(chosen) if chosen.suffix == ".json" else {chosen}
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
