"""Documents that an index lost against exact search, counted by the stage that lost them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from colmodern.evaluation.fidelity import Fidelity, LostDoc
from colmodern.evaluation.significance import LEVEL


class Loss(NamedTuple):
    """A document that the index lost, and why.

    Attributes:
        document: The document, and its ranks in both searches.
        stage: The stage of this kind of index that lost it.
        reason: The index's own words.
    """

    document: LostDoc
    stage: str
    reason: str


def losses_by_stage(losses: Sequence[Loss], stages: Sequence[str]) -> dict[int, dict[str, int]]:
    """Cutoff -> stage -> relevant documents lost there; stages: all of the kind of index."""
    cutoffs = sorted({n for loss in losses for n in loss.document.cutoffs})
    counts = {
        n: Counter(loss.stage for loss in losses if n in loss.document.cutoffs) for n in cutoffs
    }
    return {n: {stage: counts[n][stage] for stage in stages} for n in cutoffs}


def fidelity_as_json(
    fidelity: Fidelity, losses: Sequence[Loss], stages: Sequence[str]
) -> dict[str, Any]:
    """Everything but the values of each query, as plain values."""
    return {
        "queries": len(fidelity.per_query),
        "interval": LEVEL,
        "estimates": {name: estimate._asdict() for name, estimate in fidelity.estimates.items()},
        "lost": {
            "relevant_documents": len(losses),
            "by_stage": {f"@{n}": counts for n, counts in losses_by_stage(losses, stages).items()},
            "documents": [
                {**loss.document._asdict(), "stage": loss.stage, "reason": loss.reason}
                for loss in losses
            ],
        },
    }
