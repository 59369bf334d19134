"""Shards of an index: how many to build, or which ones there are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.reading import user_path

_MOST = 10_000
# settings of shards that are built, and of those that are listed
_OF_A_BUILD = ("nbits", "codec", "n_centroids", "seed", "build_max_memory")
_OF_A_LIST = ("own_codecs", "api_key_file", "timeout_s")
_ADDRESS = re.compile(r"(?P<server>https?://[^/?#]+(?:/[^?#]*)?)/v1/indexes/(?P<name>[^/?#]+)")
_CURE = "the folder of an index, or the address of one that is served, as http://HOST:PORT/v1/indexes/NAME"


def server_and_name(location: str) -> tuple[str, str] | None:
    """The server and the name of an index at an address; None for a folder.

    Raises ValueError for another URL.
    """
    if not re.match(r"[A-Za-z][\w+.-]+:/", location):
        return None
    if (address := _ADDRESS.fullmatch(location)) is None:
        raise ValueError(f"{shown(location)} is the address of no served index; give {_CURE}")
    return address["server"], address["name"]


def _checked(value: object) -> object:
    if isinstance(value, tuple | list):
        if not value:
            raise ValueError(f"there is no shard in the list; give for each {_CURE}")
        for location in value:
            if not isinstance(location, str) or not location:
                raise ValueError(f"{shown(location)} is no shard; give {_CURE}")
            server_and_name(location)
        value = [
            each if server_and_name(each) else str(user_path(each, InputError)) for each in value
        ]
        if repeated := next((each for each in value if value.count(each) > 1), None):
            raise ValueError(f"{shown(repeated)} is there twice; give each shard once")
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise ValueError(
            f"give a number from 1 to {_MOST:,} of shards to build, or a list of shards that there are"
        )
    return value


Shards = Annotated[int | tuple[str, ...], BeforeValidator(_checked)]


def expect_here(locations: Iterable[str], setting: str) -> None:
    """Raise ValueError for a setting that needs all listed shards on this machine."""
    if served := next((each for each in locations if server_and_name(each)), None):
        raise ValueError(
            f"{setting}: {served} is on a server, which does not have it; leave it out"
        )


def expect_defaults(config: BaseModel, *, are_listed: bool) -> None:
    """Raise ValueError for a setting that only listed shards have, or only those that are built."""
    which = "are listed, and built already" if are_listed else "are to be built"
    for name in _OF_A_BUILD if are_listed else _OF_A_LIST:
        value = getattr(config, name)
        if value != type(config).model_fields[name].default:
            raise ValueError(f"{name}={shown(value)}: the shards {which}; leave {name} out")
