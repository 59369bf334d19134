"""Comparing results of GPUs with those of the CPU."""

from __future__ import annotations

import numpy as np
import torch

from colmodern.types import ScoredDoc

TOLERANCE = 1e-4  # of float32 scores of up to 127 query tokens, summed in another order


def assert_alike(found: list[ScoredDoc], expected: list[ScoredDoc]) -> None:
    """The same ranking, but for documents whose scores are within the tolerance."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(
        [doc.score for doc in found], [doc.score for doc in expected], 0, TOLERANCE
    )
    scores = {doc.doc_id: doc.score for doc in expected}
    last = expected[-1].score if expected else 0.0
    for doc in found:
        assert abs(doc.score - scores.get(doc.doc_id, last)) < TOLERANCE


def several_gpus() -> list[str]:
    """All GPUs as one device: three in the interpreter; no device where there is one GPU."""
    n = torch.cuda.device_count() if torch.cuda.is_available() else 3
    return [",".join(f"cuda:{i}" for i in range(n))] if n > 1 else []
