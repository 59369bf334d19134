"""The collections that go by name: where each lies on the hub, and how its suite reads it."""

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

    A name of three parts, as "beir/cqadupstack/android", is a part of a set: the set's score is
    the mean over its parts.
    """

    name: str
    repo: str  # on the hub
    revision: str  # the commit of the repository
    splits: tuple[str, ...]  # with judgments; the first is the one that results are reported on
    license: str | None = None  # as the hub says it
    prefix: str | None = None  # a language: before the names of the repository's configs
    config: str | None = None  # corpus, queries and qrels are splits of this one config
    context_length: int | None = None  # keep the rows with this value only
    drop_self_matches: bool = False
    drop_empty_documents: bool = False


@dataclass(frozen=True)
class Usual:
    """How results on a collection are usually computed."""

    split: str = "test"
    drop_self_matches: bool = False
    drop_empty_documents: bool = False


@cache
def named_sets() -> dict[str, NamedSet]:
    """Every collection that goes by name, suite after suite."""
    text = resources.files("colmodern.datasets").joinpath("sets.json").read_text("utf-8")
    return {
        name: NamedSet(name, **{**facts, "splits": tuple(facts["splits"])})
        for name, facts in json.loads(text).items()
    }


def sets_under(name: str) -> list[NamedSet]:
    """The set of that name, or all of a suite ("beir") or of a set of parts.

    Raises DataError when there is none, with the names that are close to it.
    """
    known = named_sets()
    found = [known[one] for one in known if one == name or one.startswith(f"{name}/")]
    if not found:
        raise DataError(f"no data set {name!r} goes by that name; {suggestion(name)}")
    return found


def suggestion(name: str) -> str:
    """What a person who wrote a name that nobody knows may have meant."""
    known = named_sets()
    tails = [one for one in known if one.rpartition("/")[2] == name.lower()]
    close = tails or difflib.get_close_matches(name.lower(), known, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"suites are {', '.join(dict.fromkeys(one.partition('/')[0] for one in known))}"


def usual(name: str) -> Usual:
    """What null settings of a collection stand for; of a local one, the plain values."""
    found = named_sets().get(name)
    if found is None:
        return Usual()
    return Usual(found.splits[0], found.drop_self_matches, found.drop_empty_documents)
