"""Systems beside a reference, query by query: differences, their bounds, and whether they are chance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from results import Row

from colmodern.evaluation.significance import estimate, holm, randomisation_test


def differences(
    values: Mapping[str, npt.NDArray[np.floating]], reference: str | None
) -> dict[str, Row]:
    """Columns of each system but the reference; p values are adjusted for all of them by Holm.

    values: (n_queries,) a measure of each query, by system
    reference: the system that the others are compared with; None for no comparison
    """
    others = [] if reference is None else [system for system in values if system != reference]
    pairs = {system: [values[system] - values[reference]] for system in others if reference}
    p_values = [randomisation_test(pair) for pair in pairs.values()]
    columns: dict[str, Row] = {}
    for (system, pair), p, p_holm in zip(pairs.items(), p_values, holm(p_values), strict=True):
        difference = estimate(pair)
        columns[system] = {
            "compared_with": reference,
            "p": f"{p:.4f}",
            "p_holm": f"{p_holm:.4f}",
            "difference": f"{difference.mean:.4f}",
            "low": f"{difference.low:.4f}",
            "high": f"{difference.high:.4f}",
        }
    return columns
