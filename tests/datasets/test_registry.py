from __future__ import annotations

import re

import pytest

from colmodern.datasets.names import set_defaults, sets_under
from colmodern.datasets.registry import named_sets
from colmodern.errors import DataError


def test_the_suites_are_whole() -> None:
    assert len(sets_under("beir/cqadupstack")) == 12
    beir = {named_set.name.split("/")[1] for named_set in sets_under("beir")}
    assert len(beir) == 15
    assert len(sets_under("nanobeir")) == 13
    assert len(sets_under("mldr")) == 13
    assert len({named_set.name.split("/")[1] for named_set in sets_under("longembed")}) == 6
    assert len(sets_under("bright")) == 12
    assert len(sets_under("lotte/search")) == len(sets_under("lotte/forum")) == 5
    assert len(sets_under("miracl")) == len(sets_under("miracl-hard")) == 18
    assert len({named_set.name.split("/")[1] for named_set in sets_under("coir")}) == 10
    languages = {name.split("/")[0] for name in named_sets() if name.startswith("nanobeir-")}
    assert len(languages) == 11
    for language in languages:
        mine = {named_set.name.split("/")[1] for named_set in sets_under(language)}
        assert mine == {named_set.name.split("/")[1] for named_set in sets_under("nanobeir")}
    assert [named_set.name for named_set in sets_under("trec-dl")] == [
        "trec-dl/2019",
        "trec-dl/2020",
    ]


def test_every_set_is_pinned_to_a_commit() -> None:
    for named_set in named_sets().values():
        assert re.fullmatch("[0-9a-f]{40}", named_set.revision), named_set.name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", named_set.repo), named_set.name
        assert named_set.splits


def test_what_suites_usually_do() -> None:
    dropping = {name for name in named_sets() if set_defaults(name).drop_self_matches}
    assert dropping == {"beir/arguana", "beir/quora"}
    assert {n.split("/")[0] for n in named_sets() if set_defaults(n).drop_empty_documents} == {
        "nanobeir"
    }
    assert set_defaults("beir/msmarco").split == "dev"
    assert set_defaults("my/folder").split == "test"


def test_an_unknown_suite_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        DataError, match=r"no data set is called 'trec'; suites are beir, nanobeir, mldr"
    ):
        sets_under("trec")
