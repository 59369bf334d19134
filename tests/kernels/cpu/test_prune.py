from __future__ import annotations

import numpy as np
import pytest
from kernels.kernel_inputs import assert_equal, doc_vector_inputs, fast, run


@pytest.mark.parametrize("kind", ["random", "ends"])
@pytest.mark.parametrize("n_bytes", [2, 12, 32, 96])
@pytest.mark.parametrize("n_docs", [0, 1, 100])
def test_score_doc_vectors(n_docs: int, n_bytes: int, kind: str) -> None:
    inputs = doc_vector_inputs(n_docs, n_bytes, n_bytes, kind=kind)
    assert_equal("score_doc_vectors", inputs)
    assert_equal("estimate_doc_vectors", inputs)


def test_an_estimate_from_all_bytes_is_the_score() -> None:
    inputs = doc_vector_inputs(200, 32, 1)
    inputs["doc_parts"] = np.arange(32)
    whole, estimate = (
        run(fast("score_doc_vectors"), inputs),
        run(fast("estimate_doc_vectors"), inputs),
    )
    np.testing.assert_array_equal(estimate["out"], whole["out"])
