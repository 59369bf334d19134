"""The named collections: the repository of each on the hub, and how its suite reads it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

BUILT_IN = "stdlib"
IR_DATASETS = "ir_datasets"  # revision of a set that this package reads
Layout = Literal["beir", "bright", "ir_datasets"]  # how the rows of a repository are read


@dataclass(frozen=True)
class NamedSet:
    """A collection that is fetched, as "beir/scifact".

    Those that come along are the rows of sets.json; a row with "prefixes" is a set for each of them.

    A name like "beir/cqadupstack/android" is a part of the set "beir/cqadupstack", whose score is
    the mean over its parts.
    """

    name: str
    repo: str  # on the hub, or an id of ir_datasets
    revision: str  # the commit of the repository
    splits: tuple[str, ...]  # with judgments; the first is the one that results are reported on
    license: str | None = None  # as stated on the hub
    layout: Layout = "beir"
    prefix: str | None = None  # a language, before the names of the repository's configs
    config: str | None = (
        None  # corpus, queries and qrels are splits of this one config; BRIGHT: domain
    )
    context_length: int | None = None  # keep the rows with this value only
    drop_self_matches: bool = False
    drop_empty_documents: bool = False
    registry: str | None = None  # file that names it, where the user's own does not

    def fetch_options(self, split: str | None = None) -> str:
        """What follows its name in the command that fetches it; split: None for the usual one."""
        options = f" --split {split}" if split not in (None, self.splits[0]) else ""
        return options + (f" --registry {shlex.quote(self.registry)}" if self.registry else "")

    def fetch_command(self, split: str | None = None) -> str:
        """The command that fetches it."""
        return f"colmodern fetch {self.name}{self.fetch_options(split)}"


@cache
def named_sets() -> dict[str, NamedSet]:
    """Every named collection by its name, suite after suite."""
    text = resources.files("colmodern.datasets").joinpath("sets.json").read_text("utf-8")
    sets: dict[str, NamedSet] = {}
    for pattern, facts in json.loads(text).items():
        facts["splits"] = tuple(facts["splits"])
        for prefix in facts.pop("prefixes", [facts.get("prefix")]):  # one set for each language
            name = pattern.replace("*", prefix or "")
            sets[name] = NamedSet(name, **{**facts, "prefix": prefix})
    return sets
