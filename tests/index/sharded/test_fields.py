"""Shards whose documents have different fields are filtered as one index of all documents is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from index.plaid.corpora import corpus, names

from colmodern import ExactIndex, ScoredDoc, ShardedIndex
from colmodern.errors import InputError

DOCUMENTS, IDS, QUERIES = corpus([4] * 8), names(8), corpus([3], seed=4)
FIELDS: list[dict[str, Any]] = [
    *({"year": 2000 + i, "day": "2024-05-01"} for i in range(4)),
    *({"year": "unknown", "rare": i % 2, "day": "none"} for i in range(4)),
]


@pytest.fixture
def whole() -> ExactIndex:
    return ExactIndex(DOCUMENTS, IDS, fields=FIELDS)


@pytest.fixture
def sharded() -> ShardedIndex:
    first = ExactIndex(DOCUMENTS[:4], IDS[:4], fields=FIELDS[:4])
    return ShardedIndex(
        {"first": first, "last": ExactIndex(DOCUMENTS[4:], IDS[4:], fields=FIELDS[4:])}
    )


@pytest.mark.parametrize(
    "filter",
    [
        {"rare": 1},
        {"not": {"rare": 1}},
        {"rare": {"exists": False}},
        {"rare": [0, 7], "year": "unknown"},
        {"or": [{"rare": {"lt": 1}}, {"year": {"gte": 2002}}]},
        {"year": [2001, "unknown"]},
        {"day": {"gte": "2024-01-01"}},
    ],
)
def test_a_field_that_one_shard_lacks_is_filtered_by(
    whole: ExactIndex, sharded: ShardedIndex, filter: dict[str, Any]
) -> None:
    expected = ranking(whole.search(QUERIES[0], 8, filter=filter))
    assert 0 < len(expected) < 8
    assert ranking(sharded.search(QUERIES[0], 8, filter=filter)) == expected
    [results] = sharded.search_batch(QUERIES, 8, filter=filter)
    assert ranking(results) == expected


def ranking(results: Iterable[ScoredDoc]) -> list[str]:
    return [hit.doc_id for hit in results]


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"none": 1}, r"^filter names the field 'none', .*day \(date or text\), rare .*, year"),
        ({"rare": "x"}, r"^filter compares the field 'rare' \(number\) with the text 'x'"),
        ({"day": {"lt": "May 2024"}}, "^filter compares the field 'day', which has dates, by lt"),
        ({"rare": {"is": 1}}, r"^filter\['rare'\] has the operator 'is'"),
    ],
)
def test_what_no_shard_has_is_refused_with_the_fields_of_all(
    sharded: ShardedIndex, filter: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sharded.search(QUERIES[0], 8, filter=filter)
