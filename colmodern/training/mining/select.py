"""Which candidates become negatives: pure rules on scores."""

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
    """Places of the negatives among a query's candidates, in their order; None where too few.

    positive: the teacher's score of the positive
    scores: (n_candidates,) the teacher's, in the order of ranks
    stream: of the random numbers, one a query, so that no query depends on another
    dropped: counts candidates by the rule that they broke

    Raises ConfigError for max_share where the positive's score is not above 0: shares of it mean
    nothing.
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
    left = np.flatnonzero(kept)
    if len(left) < config.number:
        return None
    if config.choose == "random":
        generator = np.random.default_rng([config.seed, stream])
        left = np.sort(generator.choice(left, config.number, replace=False))
    return [int(place) for place in left[: config.number]]
