"""What an index lost against exact search, and the stage that lost it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from colmodern.config.models import PlaidIndexConfig
from colmodern.evaluation.fidelity import Fidelity, LostDoc
from colmodern.evaluation.significance import LEVEL
from colmodern.progress import Progress
from colmodern.ragged.store import EmbeddingStore

if TYPE_CHECKING:
    from colmodern.index.plaid.explain import Explanation

NOT_PROBED, PRUNED, QUANTISED = "not probed", "pruned by candidates", "quantisation"
STAGES = (NOT_PROBED, PRUNED, QUANTISED)
# the stage of a search that a document did not reach -> what kept it from there
_LOST_BEFORE = {
    "gathered": NOT_PROBED,
    "pruned": PRUNED,
    "refined": PRUNED,
    "scored": QUANTISED,
    None: QUANTISED,  # it reached the end, with a score of its compressed tokens
}


class Loss(NamedTuple):
    """A lost document, one of ``STAGES``, and the index's own words."""

    document: LostDoc
    stage: str
    reason: str


def explain_losses(
    lost: Sequence[LostDoc],
    index: Path,
    queries: EmbeddingStore,
    config: PlaidIndexConfig,
    k: int,
    progress: Progress,
) -> list[Loss]:
    """Ask the index about every lost document: one search for each that is not among the results.

    index: the folder that was searched for ``k`` documents, by ``queries``
    config: with its device settled; a GPU probes all centroids, so none is lost there
    """
    from colmodern.index.plaid.index import PlaidIndex  # loads numba

    if not lost:
        return []
    searched, embeddings = PlaidIndex.load(index), queries.to_memory()
    is_cuda = config.device.startswith("cuda")
    nprobe = searched.info()["centroids"] if is_cuda else config.nprobe
    positions = {query_id: position for position, query_id in enumerate(queries.doc_ids)}
    progress.start("explain losses", len(lost), unit="documents")
    losses = []
    for document in lost:
        if document.rank is not None:
            loss = Loss(
                document, QUANTISED, f"result {document.rank}, by the scores of compressed tokens"
            )
        else:
            query = embeddings[positions[document.query_id]]
            effort = {"nprobe": nprobe, "n_candidates": config.n_candidates}
            explanation = searched.explain(query, document.doc_id, k, **effort)
            loss = Loss(document, *_stage_and_reason(explanation))
        losses.append(loss)
        progress.advance(1)
    progress.finish()
    return losses


def _stage_and_reason(explanation: Explanation) -> tuple[str, str]:
    """The stage that lost a document, and why."""
    lost_at, seen = explanation.lost_at, {stage.stage for stage in explanation.stages}
    if lost_at == "scored" and "refined" not in seen:  # few candidates are scored at once
        return PRUNED, "the centroids of its tokens scored too low: raise n_candidates"
    return _LOST_BEFORE[lost_at], explanation.reason


def losses_by_stage(losses: Sequence[Loss]) -> dict[int, dict[str, int]]:
    """Cutoff -> stage -> relevant documents lost there."""
    cutoffs = sorted({n for loss in losses for n in loss.document.cutoffs})
    counts = {
        n: Counter(loss.stage for loss in losses if n in loss.document.cutoffs) for n in cutoffs
    }
    return {n: {stage: counts[n][stage] for stage in STAGES} for n in cutoffs}


def fidelity_as_json(fidelity: Fidelity, losses: Sequence[Loss]) -> dict[str, Any]:
    """Everything but the values of each query, as plain values."""
    return {
        "queries": len(fidelity.per_query),
        "interval": LEVEL,
        "estimates": {name: estimate._asdict() for name, estimate in fidelity.estimates.items()},
        "lost": {
            "relevant_documents": len(losses),
            "by_stage": {f"@{n}": counts for n, counts in losses_by_stage(losses).items()},
            "documents": [
                {**loss.document._asdict(), "stage": loss.stage, "reason": loss.reason}
                for loss in losses
            ],
        },
    }
