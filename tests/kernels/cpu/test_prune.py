from __future__ import annotations

import pytest
from kernels.kernel_inputs import (
    assert_equal,
    doc_vector_inputs,
)


@pytest.mark.parametrize("kind", ["random", "ends"])
@pytest.mark.parametrize("n_bytes", [2, 12, 32, 96])
@pytest.mark.parametrize("n_docs", [0, 1, 100])
def test_score_doc_vectors(n_docs: int, n_bytes: int, kind: str) -> None:
    assert_equal("score_doc_vectors", doc_vector_inputs(n_docs, n_bytes, n_bytes, kind=kind))
