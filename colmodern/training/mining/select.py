"""Selection of negatives among candidates: pure rules on scores."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from colmodern.config.mine import NegativesConfig
from colmodern.errors import ConfigError


def select_negatives(
    positive: float,
    scores: npt.NDArray[np.float32],
    config: NegativesConfig,
    *,
    stream: int,
    dropped: Counter[str],
) -> list[int] | None:
    """Indices of the negatives among a query's candidates, ascending; None where too few are left.

    Args:
        positive: The teacher's score of the positive.
        scores: (n_candidates,) the teacher's scores of the candidates, best rank first.
        config: The rules.
        stream: Number of the query's stream of random numbers, so that no query depends on another.
        dropped: Counts the dropped candidates by the rule that they broke; updated in place.

    Raises:
        ConfigError: max_share is set and the positive's score is not above 0, so that a share of it
            means nothing.
    """
    kept = np.ones(len(scores), bool)
    if config.margin is not None:
        kept &= scores <= positive - config.margin
        dropped["margin"] += int(len(kept) - kept.sum())
    if config.max_share is not None:
        if positive <= 0:
            raise ConfigError(
                f"negatives.max_share={config.max_share} of a positive's score of {positive:.3g} means "
                "nothing; use negatives.margin, or teacher.activation=sigmoid"
            )
        below = scores <= positive * config.max_share
        dropped["max_share"] += int((kept & ~below).sum())
        kept &= below
    remaining = np.flatnonzero(kept)
    if len(remaining) < config.number:
        return None
    if config.choose == "random":
        generator = np.random.default_rng([config.seed, stream])
        remaining = np.sort(generator.choice(remaining, config.number, replace=False))
    return [int(index) for index in remaining[: config.number]]
