"""From a data set's name to what it stands for: a set that comes along, one's own, an ir_datasets id."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colmodern.datasets.own_sets import LocalSet, own_sets
from colmodern.datasets.registry import IR_DATASETS, NamedSet, named_sets
from colmodern.errors import DataError

IRDS = "irds:"  # before an id of ir_datasets, as PyTerrier writes it

Registry = str | Path | None  # a file of data sets of one's own, beside the user's


@dataclass(frozen=True)
class SetDefaults:
    """Settings with which results on a collection are usually computed."""

    split: str = "test"
    drop_self_matches: bool = False
    drop_empty_documents: bool = False


def find_set(name: str, registry: Registry = None) -> NamedSet | LocalSet | None:
    """What a name stands for; None for an unknown one.

    Raises:
        ConfigError: A file of data sets is malformed.
    """
    if name.startswith(IRDS) and len(name) > len(IRDS):
        return NamedSet(name, name.removeprefix(IRDS), IR_DATASETS, ("test",), layout="ir_datasets")
    return named_sets().get(name) or own_sets(registry).get(name)


def find_fetched(name: str, registry: Registry = None) -> NamedSet | None:
    """The set of that name, if it is one that is fetched."""
    match = find_set(name, registry)
    return match if isinstance(match, NamedSet) else None


def sets_under(name: str, registry: Registry = None) -> list[NamedSet]:
    """The set to fetch of that name, or all sets of a suite ("beir") or parts of a set.

    Raises:
        DataError: There is none; the message lists close names.
    """
    if (match := find_set(name, registry)) is not None:
        if isinstance(match, LocalSet):
            raise DataError(f"{name} is on this machine, at {match.documents}; use it by its name")
        return [match]
    known = _known(registry)
    matches = [
        known_set
        for key, known_set in known.items()
        if key.startswith(f"{name}/") and isinstance(known_set, NamedSet)
    ]
    if not matches:
        raise DataError(f"no data set is called {name!r}; {suggestion(name, registry)}")
    return matches


def suggestion(name: str, registry: Registry = None) -> str:
    """Known names close to an unknown one, as the end of a message."""
    known = _known(registry)
    tails = [key for key in known if key.rpartition("/")[2] == name.lower()]
    tails = [key for key in tails if getattr(known[key], "prefix", None) is None] or tails[:3]
    close = tails or difflib.get_close_matches(name.lower(), known, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"suites are {', '.join(dict.fromkeys(key.partition('/')[0] for key in known))}"


def set_defaults(name: str, registry: Registry = None) -> SetDefaults:
    """Defaults of a collection's settings; one without a name has the plain ones."""
    match = find_set(name, registry)
    if match is None:
        return SetDefaults()
    return SetDefaults(match.splits[0], match.drop_self_matches, match.drop_empty_documents)


def _known(registry: Registry) -> Mapping[str, NamedSet | LocalSet]:
    return {**named_sets(), **own_sets(registry)}
