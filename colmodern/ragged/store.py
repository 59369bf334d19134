"""Token embeddings on disk: memory-mapped shards under one manifest.

    FOLDER/manifest.json               written last: its presence means the work finished
    FOLDER/shard-00000/values.npy      (n_tokens, dim) float16 or float32
    FOLDER/shard-00000/offsets.npy     (n_docs + 1,) int64
    FOLDER/shard-00000/token_ids.npy   (n_tokens,) int32
    FOLDER/shard-00000/doc_ids.json    n_docs strings
    FOLDER/shard-00000/shard.json      counts, checksums, what its making cost

A shard is written to a temporary folder and renamed, so a shard that is there is whole; an
interrupted writer goes on after the last one. Shards of several processes wait in FOLDER/.ahead
until all before them are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.errors import StorageError
from colmodern.files import (
    naming_write_errors,
    parse_json,
    read_json_object,
    remove_leftovers,
    sha256_of_file,
    staging,
    write_json,
)
from colmodern.progress import Progress, Silent
from colmodern.ragged.arrays import map_array, write_array
from colmodern.ragged.embeddings import TokenEmbeddings

FORMAT = "colmodern-embeddings"
VERSION = 1
_ARRAYS = ("values", "offsets", "token_ids")
_FILES = (*(f"{name}.npy" for name in _ARRAYS), "doc_ids.json")
_RECORD = "shard.json"  # written last in a shard
_AHEAD = ".ahead"


class ShardWriter:
    """Appends shards to a folder; opening an unfinished one again goes on where it stopped.

    fingerprint: what the embeddings depend on; a folder begun with another one is refused
    dtype: "float16" or "float32", how values are stored

    Raises StorageError for a folder with another fingerprint or with files of someone else.
    """

    def __init__(self, folder: Path, *, fingerprint: str, dtype: str = "float16") -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.dtype = dtype
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder} is a file; choose a folder to write to")
        remove_leftovers(folder)
        remove_leftovers(self.ahead)
        self.shards = _finished_shards(folder)
        if any(
            shard["fingerprint"] != fingerprint or shard["dtype"] != dtype for shard in self.shards
        ):
            raise StorageError(
                f"{folder} holds embeddings of another encoder, collection or dtype; "
                "choose another folder, or delete this one"
            )
        if not self.shards and folder.exists() and any(_foreign(folder)):
            raise StorageError(
                f"{folder} is not empty and holds no embeddings; choose another folder"
            )

    @property
    def n_docs(self) -> int:
        """Documents in finished shards; the next shard begins with this one."""
        return sum(shard["n_docs"] for shard in self.shards)

    def add(
        self,
        embeddings: TokenEmbeddings,
        doc_ids: Sequence[str],
        *,
        facts: Mapping[str, float] | None = None,
    ) -> None:
        """Write one shard; ``facts`` are numbers to sum up in the manifest (seconds, cut tokens)."""
        self.shards.append(
            write_shard(
                self.folder / shard_name(len(self.shards)),
                embeddings,
                doc_ids,
                fingerprint=self.fingerprint,
                dtype=self.dtype,
                facts=facts,
            )
        )

    @property
    def ahead(self) -> Path:
        """Where other processes write shards, by name, before their turn."""
        return self.folder / _AHEAD

    def find_ahead(self, index: int, doc_ids: Sequence[str]) -> bool:
        """Whether shard ``index`` waits in ``ahead`` and holds these documents' embeddings.

        Anything else under its name, as of another size of shards, is deleted.
        """
        folder = self.ahead / shard_name(index)
        if not folder.exists():
            return False
        shard = read_json_object(folder / _RECORD, StorageError, cure=_CURE)
        kept = parse_json(folder / "doc_ids.json", StorageError, cure=_CURE)
        made = (shard["fingerprint"], shard["dtype"], kept)
        if made == (self.fingerprint, self.dtype, list(doc_ids)):
            return True
        shutil.rmtree(folder)
        return False

    def adopt(self) -> None:
        """Move the next shard here from ``ahead``."""
        name = shard_name(len(self.shards))
        shard = read_json_object(self.ahead / name / _RECORD, StorageError, cure=_CURE)
        with naming_write_errors(self.folder / name):
            os.replace(self.ahead / name, self.folder / name)
        self.shards.append(shard)

    def finish(self, **about: Any) -> EmbeddingStore:
        """Write the manifest, with ``about`` in it, and open the store."""
        facts: dict[str, float] = {}
        for shard in self.shards:
            for key, value in shard["facts"].items():
                facts[key] = facts.get(key, 0) + value
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "dtype": self.dtype,
            "dim": self.shards[0]["dim"] if self.shards else 0,
            "n_docs": self.n_docs,
            "n_tokens": sum(shard["n_tokens"] for shard in self.shards),
            "facts": facts,
            **about,
            "shards": [
                {
                    key: shard[key]
                    for key in ("name", "n_docs", "n_tokens", "has_token_ids", "sha256")
                }
                for shard in self.shards
            ],
        }
        shutil.rmtree(self.ahead, ignore_errors=True)
        write_json(self.folder / "manifest.json", manifest)
        return EmbeddingStore(self.folder)


def write_shard(
    folder: Path,
    embeddings: TokenEmbeddings,
    doc_ids: Sequence[str],
    *,
    fingerprint: str,
    dtype: str,
    facts: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Write a folder that must not be there yet; returns what its shard.json says."""
    arrays = {
        "values": np.ascontiguousarray(embeddings.values, dtype=dtype),
        "offsets": embeddings.offsets,
        "token_ids": embeddings.token_ids,
    }
    with staging(folder) as staged:
        for part, array in arrays.items():
            if array is not None:
                write_array(staged / f"{part}.npy", array)
        write_json(staged / "doc_ids.json", list(doc_ids))
        shard = {
            "name": folder.name,
            "fingerprint": fingerprint,
            "dtype": dtype,
            "dim": embeddings.dim,
            "n_docs": embeddings.n_docs,
            "n_tokens": embeddings.n_tokens,
            "has_token_ids": embeddings.token_ids is not None,
            "facts": dict(facts or {}),
            "sha256": {file.name: sha256_of_file(file) for file in sorted(staged.iterdir())},
        }
        write_json(staged / _RECORD, shard)
    return shard


def shard_name(index: int) -> str:
    """Folder of the shard with this index, from 0."""
    return f"shard-{index:05d}"


class EmbeddingStore:
    """A finished folder of shards, opened without reading its arrays.

    Raises StorageError when the folder is not such a store, is unfinished, or a file is
    missing or has other counts than the manifest says.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder)
        self.n_docs: int = self.manifest["n_docs"]
        self.n_tokens: int = self.manifest["n_tokens"]
        self.dim: int = self.manifest["dim"]
        self._shards = [self._map(shard) for shard in self.manifest["shards"]]

    @cached_property
    def doc_ids(self) -> list[str]:
        """(n_docs,) the document ids, in order."""
        ids: list[str] = []
        for shard in self.manifest["shards"]:
            ids += parse_json(
                self.folder / shard["name"] / "doc_ids.json", StorageError, cure=_CURE
            )
        if len(ids) != self.n_docs:
            raise StorageError(
                f"{self.folder} names {len(ids)} documents for {self.n_docs}; {_CURE}"
            )
        return ids

    @property
    def shards(self) -> list[TokenEmbeddings]:
        """The shards, mapped from disk."""
        return list(self._shards)

    @property
    def n_bytes(self) -> int:
        """Size of the manifest and all files that it names, in bytes."""
        shards = [self.folder / shard["name"] for shard in self.manifest["shards"]]
        files = [shard / name for shard in shards for name in (*_FILES, _RECORD)]
        files.append(self.folder / "manifest.json")
        return sum(file.stat().st_size for file in files if file.is_file())

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """As TokenEmbeddings.chunks, over all shards; values stay on disk until touched."""
        first = 0
        for shard in self._shards:
            for start, texts in shard.chunks(max_tokens, max_docs):
                yield first + start, texts
            first += shard.n_docs

    def to_memory(self) -> TokenEmbeddings:
        """Everything as one float32 TokenEmbeddings: for queries and small collections."""
        values = [np.asarray(shard.values, dtype=np.float32) for shard in self._shards]
        ids = [shard.token_ids for shard in self._shards if shard.token_ids is not None]
        lengths = [shard.lengths for shard in self._shards]
        if not values:
            return TokenEmbeddings.from_list([], dim=self.dim)
        return TokenEmbeddings(
            np.concatenate(values),
            np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
            np.concatenate(ids) if len(ids) == len(values) else None,
        )

    def verify(self, *, progress: Progress | None = None) -> None:
        """Compare every file with its checksum, which reads them all.

        Raises StorageError that names the first file that differs.
        """
        progress = progress or Silent()
        progress.start("check embeddings", len(self.manifest["shards"]), unit="shards")
        for shard in self.manifest["shards"]:
            for name, expected in shard["sha256"].items():
                path = self.folder / shard["name"] / name
                if not path.is_file() or sha256_of_file(path) != expected:
                    raise StorageError(f"{path} is missing or differs from its checksum; {_CURE}")
            progress.advance(1)
        progress.finish()

    def _map(self, shard: Mapping[str, Any]) -> TokenEmbeddings:
        folder = self.folder / shard["name"]
        names = _ARRAYS if shard["has_token_ids"] else _ARRAYS[:2]
        try:
            arrays = [map_array(folder / f"{name}.npy") for name in names]
            embeddings = TokenEmbeddings(arrays[0], np.array(arrays[1]), *arrays[2:])
        except (OSError, ValueError) as error:
            raise StorageError(f"{folder} cannot be read ({error}); {_CURE}") from error
        if (embeddings.n_docs, embeddings.n_tokens) != (shard["n_docs"], shard["n_tokens"]):
            raise StorageError(f"{folder} has other counts than the manifest says; {_CURE}")
        return embeddings


_CURE = "delete the folder and encode again"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        if _finished_shards(folder):
            raise StorageError(
                f"{folder} is unfinished (no manifest.json); run the command that encodes it again "
                "and it goes on after the last finished shard"
            )
        raise StorageError(f"{folder} holds no embeddings: there is no manifest.json in it")
    manifest = read_json_object(path, StorageError, cure=_CURE)
    if manifest.get("format") != FORMAT:
        raise StorageError(f"{path} has format={manifest.get('format')!r}, not {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise StorageError(
            f"{path} has version={manifest.get('version')!r}; this colmodern reads version {VERSION}: "
            "encode again, or use the colmodern that wrote it"
        )
    if missing := {"fingerprint", "dim", "n_docs", "n_tokens", "facts", "shards"} - manifest.keys():
        raise StorageError(f"{path} lacks {', '.join(sorted(missing))}; {_CURE}")
    return manifest


def _finished_shards(folder: Path) -> list[dict[str, Any]]:
    """Records of shard-00000, shard-00001, ... up to the first that is missing."""
    shards: list[dict[str, Any]] = []
    while (record := folder / shard_name(len(shards)) / _RECORD).is_file():
        shards.append(read_json_object(record, StorageError, cure=_CURE))
    return shards


def _foreign(folder: Path) -> Iterator[Path]:
    own = {"manifest.json", _AHEAD}
    return (path for path in folder.iterdir() if path.name not in own)
