"""Arguments of sharded indexes and of their searches."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.base import Index

_METHODS = ("search", "search_batch", "info", "close")


def named_shards(shards: Mapping[str, Index] | Sequence[Index]) -> dict[str, Index]:
    """Shards by their names.

    Raises:
        InputError: There are none, a name is no text, or one of them is no index.
    """
    if isinstance(shards, Mapping):
        named = dict(shards)
    elif isinstance(shards, Sequence) and not isinstance(shards, str | bytes):
        named = {f"shard-{number}": shard for number, shard in enumerate(shards)}
    else:
        raise InputError(
            f"shards={shown(shards)}; pass a list of open indexes, or a mapping from names to them"
        )
    if not named:
        raise InputError("shards is empty; pass at least one index")
    for name, shard in named.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"shards has the name {shown(name)}; name every shard with a text")
        if isinstance(shard, type) or not all(hasattr(shard, method) for method in _METHODS):
            raise InputError(
                f"shards[{name!r}] is {shown(shard)}; pass an open index, as PlaidIndex.load(folder)"
            )
    if len({id(shard) for shard in named.values()}) < len(named):
        raise InputError("shards has the same index twice; pass each once")
    return named


def expect_taken(name: str, shard: Index, method: str, options: Mapping[str, object]) -> None:
    """Raise InputError for an option that a shard's search does not have."""
    parameters = inspect.signature(getattr(shard, method)).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option, value in options.items():
        if option not in parameters:
            raise InputError(
                f"{option}={shown(value)}: shard {name} is of the kind {type(shard).__name__}, whose "
                f"{method} has no such option; leave it out"
            )


def takes(shard: Index, method: str, option: str) -> bool:
    """Whether a shard's search has an option by its name."""
    return option in inspect.signature(getattr(shard, method)).parameters
