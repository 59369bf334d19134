from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from colmodern.config.mine import NegativesConfig
from colmodern.errors import ConfigError
from colmodern.training.mining.select import select_negatives

SCORES = np.array([9.5, 12.0, 8.0, 9.0, 3.0, 1.0], np.float32)  # in the order of ranks


def select(positive: float = 10.0, stream: int = 0, **settings: object) -> list[int] | None:
    config = NegativesConfig(**{"number": 2, **settings})
    return select_negatives(positive, SCORES, config, stream=stream, dropped=Counter())


def test_without_rules_the_best_ranked_are_taken() -> None:
    assert select() == [0, 1]


def test_margin_keeps_what_is_that_much_below_the_positive() -> None:
    assert select(margin=0) == [0, 2]
    assert select(margin=1) == [2, 3]
    assert select(margin=7) == [4, 5]
    assert select(margin=8) is None


def test_max_share_drops_what_may_be_an_unjudged_positive() -> None:
    assert select(max_share=0.9) == [2, 3]
    assert select(max_share=0.3) == [4, 5]
    with pytest.raises(ConfigError, match=r"use negatives\.margin, or teacher\.activation=sigmoid"):
        select(positive=-1.0, max_share=0.9)


def test_what_was_dropped_is_counted_once() -> None:
    dropped: Counter[str] = Counter()
    config = NegativesConfig(number=1, margin=1, max_share=0.5)
    select_negatives(10.0, SCORES, config, stream=0, dropped=dropped)
    assert dropped == {"margin": 2, "max_share": 2}


def test_chance_depends_on_seed_and_row_alone_and_keeps_the_order() -> None:
    chosen = [select(choose="random", seed=1, stream=stream) for stream in range(20)]
    assert chosen == [select(choose="random", seed=1, stream=stream) for stream in range(20)]
    assert chosen != [select(choose="random", seed=2, stream=stream) for stream in range(20)]
    assert all(one == sorted(set(one)) for one in chosen if one)
    assert {place for one in chosen if one for place in one} == set(range(6))
