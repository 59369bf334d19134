"""The named collections: the repository of each on the hub, and how its suite reads it."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from colmodern.errors import DataError

BUILT_IN = "stdlib"


@dataclass(frozen=True)
class NamedSet:
    """A collection of a suite, as "beir/scifact"; one row of sets.json.

    A name like "beir/cqadupstack/android" is a part of the set "beir/cqadupstack", whose score is
    the mean over its parts.
    """

    name: str
    repo: str  # on the hub
    revision: str  # the commit of the repository
    splits: tuple[str, ...]  # with judgments; the first is the one that results are reported on
    license: str | None = None  # as stated on the hub
    prefix: str | None = None  # a language, before the names of the repository's configs
    config: str | None = None  # corpus, queries and qrels are splits of this one config
    context_length: int | None = None  # keep the rows with this value only
    drop_self_matches: bool = False
    drop_empty_documents: bool = False


@dataclass(frozen=True)
class SetDefaults:
    """Settings with which results on a collection are usually computed."""

    split: str = "test"
    drop_self_matches: bool = False
    drop_empty_documents: bool = False


@cache
def named_sets() -> dict[str, NamedSet]:
    """Every named collection by its name, suite after suite."""
    text = resources.files("colmodern.datasets").joinpath("sets.json").read_text("utf-8")
    return {
        name: NamedSet(name, **{**facts, "splits": tuple(facts["splits"])})
        for name, facts in json.loads(text).items()
    }


def sets_under(name: str) -> list[NamedSet]:
    """The set of that name, or all sets of a suite ("beir") or parts of a set.

    Raises:
        DataError: there is none; the message lists close names.
    """
    known = named_sets()
    matches = [
        named_set for key, named_set in known.items() if key == name or key.startswith(f"{name}/")
    ]
    if not matches:
        raise DataError(f"no data set is called {name!r}; {suggestion(name)}")
    return matches


def suggestion(name: str) -> str:
    """Known names close to an unknown one, as the end of a message."""
    known = named_sets()
    tails = [key for key in known if key.rpartition("/")[2] == name.lower()]
    close = tails or difflib.get_close_matches(name.lower(), known, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"suites are {', '.join(dict.fromkeys(key.partition('/')[0] for key in known))}"


def set_defaults(name: str) -> SetDefaults:
    """Defaults of a collection's settings; a local collection has the plain ones."""
    named_set = named_sets().get(name)
    if named_set is None:
        return SetDefaults()
    return SetDefaults(
        named_set.splits[0], named_set.drop_self_matches, named_set.drop_empty_documents
    )
