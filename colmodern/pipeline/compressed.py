"""Compressed indexes: in folders, and as shards that a config or a command lists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colmodern.collection.manifest import is_collection_folder
from colmodern.config.index import ShardedIndexConfig
from colmodern.config.shards import server_and_name
from colmodern.errors import ConfigError, InputError, StorageError
from colmodern.files import read_json_object
from colmodern.kernels.device import Devices
from colmodern.pipeline.stored_files import CURE
from colmodern.reading import read_lines, user_path
from colmodern.threads import cpu_count

if TYPE_CHECKING:
    from colmodern.index.base import Index
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.index.sharded.index import ShardedIndex


def is_index(folder: Path) -> bool:
    """Whether a folder says that it is a compressed index, of whatever version and state."""
    from colmodern.index.plaid.disk.manifest import FORMAT, NAME

    try:
        manifest = read_json_object(folder / NAME, StorageError, cure=CURE)
    except StorageError:
        return False
    return manifest.get("format") == FORMAT


def compressed_kind(path: Path) -> type[PlaidIndex] | type[ShardedIndex]:
    """The class that opens the compressed index of a folder."""
    if is_sharded(path):
        from colmodern.index.sharded.index import ShardedIndex  # loads numba

        return ShardedIndex
    from colmodern.index.plaid.index import PlaidIndex  # loads numba

    return PlaidIndex


def is_sharded(folder: Path) -> bool:
    """Whether a folder says that it holds shards of an index, of whatever version and state."""
    return (folder / "shards.json").is_file()


@dataclass(frozen=True)
class ListedShards:
    """Shards that are there, each in a folder or at an address.

    Attributes:
        locations: Folders of indexes, and addresses as http://HOST:PORT/v1/indexes/NAME.
        own_codecs: Whether they may have different codecs.
        api_key_file: File with the key that servers ask for.
        timeout_s: Seconds that a server may take to answer.
        name: The setting or option that lists them, for messages.
    """

    locations: tuple[str, ...]
    own_codecs: bool = False
    api_key_file: str | None = None
    timeout_s: float = 60.0
    name: str = "index.shards"

    @classmethod
    def of(cls, config: ShardedIndexConfig) -> ListedShards | None:
        """The shards of a config; None where it builds them."""
        if config.listed is None:
            return None
        return cls(config.listed, config.own_codecs, config.api_key_file, config.timeout_s)

    def __str__(self) -> str:
        return ", ".join(self.locations)

    def open(
        self, device: str | Devices = "cpu", device_max_memory: str | None = None, **options: Any
    ) -> ShardedIndex:
        """Open all of them as one index.

        Args:
            device: Where those in folders are searched, as ``PlaidIndex.load`` takes it.
            device_max_memory: As ``PlaidIndex.load`` takes it.
            **options: Other options of ``PlaidIndex.load``.

        Raises:
            ConfigError: A folder is missing or holds no index, or codecs differ.
            InputError: Shards are of different dims or encoders, or a server has no such index.
            StorageError: A folder is damaged, or two shards have the same document.
            UnavailableError: A server does not answer.
        """
        from colmodern.index.sharded.index import ShardedIndex  # loads numba

        key = None if self.api_key_file is None else _key_in(self.api_key_file)
        n_folders = sum(server_and_name(location) is None for location in self.locations)
        options |= {"device": device, "device_max_memory": device_max_memory}
        options["n_threads"] = max(1, cpu_count() // max(1, n_folders))
        opened: dict[str, Index] = {}
        real: dict[str, str] = {}
        try:
            for location in self.locations:
                address = server_and_name(location)
                where = location.rstrip("/") if address else os.path.realpath(location)
                if where in real:
                    raise ConfigError(
                        f"{self.name}: {location} is the shard {real[where]}; give each shard once"
                    )
                real[where] = location
                opened[location] = (
                    self._folder(location, options)
                    if address is None
                    else _remote(*address, key, self.timeout_s)
                )
            index = ShardedIndex(opened)
            if not self.own_codecs:
                self._expect_one_codec({name: shard.info() for name, shard in opened.items()})
        except BaseException:
            for shard in opened.values():
                shard.close()
            raise
        return index

    def _folder(self, location: str, options: Mapping[str, Any]) -> Index:
        folder = Path(location)
        if not folder.is_dir():
            raise ConfigError(f"{self.name}: there is no folder {location}; correct the path")
        if is_collection_folder(folder):
            raise ConfigError(
                f"{self.name}: {location} is a collection; serve it with `colmodern serve`, and give its "
                "address"
            )
        if not (is_index(folder) or is_sharded(folder)):
            raise ConfigError(
                f"{self.name}: {location} holds no compressed index; build one with `colmodern index build`, "
                "or correct the path"
            )
        index: Index = compressed_kind(folder).load(folder, **options)
        return index

    def _expect_one_codec(self, infos: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ConfigError where shards have different codecs, or do not say which they have."""
        first, *others = infos
        for name in infos:
            if infos[name].get("codec_sha256") is None:
                raise ConfigError(
                    f"{self.name}: {name} does not say which codec it has, so that its scores may not "
                    "compare with others; use one colmodern on both sides and shards of one codec, or set "
                    "own_codecs"
                )
        for name in others:
            if infos[name]["codec_sha256"] != infos[first]["codec_sha256"]:
                raise ConfigError(
                    f"{self.name}: {first} and {name} have different codecs, so that their scores differ a "
                    "little; build them with one (`colmodern index shard`, or --codec-from), or set "
                    "own_codecs"
                )


def index_at(locations: tuple[str, ...]) -> Path | ListedShards | None:
    """What --index names: a folder, or shards to be searched as one; None without the option.

    Raises:
        InputError: A location is no folder and no address of a served index.
    """
    if not locations:
        return None
    try:
        are_served = [server_and_name(location) is not None for location in locations]
    except ValueError as error:
        raise InputError(f"--index: {error}") from error
    paths = tuple(
        location if is_served else str(user_path(location, InputError))
        for location, is_served in zip(locations, are_served, strict=True)
    )
    if len(paths) == 1 and not are_served[0]:
        return Path(paths[0])
    return ListedShards(paths, name="--index")


def _remote(server: str, name: str, key: str | None, timeout_s: float) -> Index:
    from colmodern.index.remote.index import RemoteIndex

    return RemoteIndex(server, name, api_key=key, timeout_s=timeout_s)


def _key_in(path: str) -> str:
    """The key in a file's first line."""
    for _, line in read_lines(Path(path), ConfigError):
        return line
    raise InputError(f"api_key_file={path} has no line; write the key into it")
