"""The documents of a segment that stand for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from index.plaid.corpora import corpus, names

from colmodern import PlaidIndex


def test_a_long_document_gives_the_sample_tokens_spread_over_it(tmp_path: Path) -> None:
    lengths = [3000, 7, 0, 1024, 1025]
    index = PlaidIndex.build(corpus(lengths), tmp_path / "i", names(5))
    [segment] = index._state.view.segments
    codes, starts = segment.arrays.codes, segment.arrays.doc_offsets
    sample = segment.sample
    docs = [0, 1, 3, 4]  # the middles of four parts of the segment
    assert np.diff(sample.offsets).tolist() == [1024, 7, 1024, 1024]
    for number, doc in enumerate(docs):
        of_doc = codes[starts[doc] : starts[doc + 1]]
        sampled = sample.codes[sample.offsets[number] : sample.offsets[number + 1]]
        n = len(sampled)
        middles = [(2 * i + 1) * len(of_doc) // (2 * n) for i in range(n)]
        assert len(set(middles)) == n
        assert max(np.diff([-1, *middles, len(of_doc)])) <= -(-len(of_doc) // n) + 1
        np.testing.assert_array_equal(sampled, of_doc[middles])
        if n == len(of_doc):
            np.testing.assert_array_equal(sampled, of_doc)
