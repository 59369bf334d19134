from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern.index.plaid.cuda import upload
from colmodern.kernels.cuda.compressed import Tokens
from colmodern.ragged.offsets import offsets_of


@given(
    lengths=st.lists(st.integers(0, 9), max_size=12),
    n_centroids=st.sampled_from([1, 5, 65_536]),
    dtype=st.sampled_from(["uint16", "int32"]),
    piece=st.sampled_from([1, 7, 1000]),
)
@settings(max_examples=60)
def test_distinct_codes_are_those_of_each_document_once(
    lengths: list[int], n_centroids: int, dtype: str, piece: int
) -> None:
    codes = np.random.default_rng(0).integers(0, n_centroids, sum(lengths)).astype(dtype)
    ends = offsets_of(lengths)
    given_codes = torch.from_numpy(codes.view(np.int16) if dtype == "uint16" else codes)
    empty = torch.empty(0, dtype=torch.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload, "_CHUNK_TOKENS", piece)
        tokens = Tokens(torch.from_numpy(ends), given_codes, empty, empty)
        found = upload.distinct_codes(tokens, n_centroids)
    numbers = found.codes.numpy().view(dtype)
    for i in range(len(lengths)):
        own = numbers[found.doc_offsets[i] : found.doc_offsets[i + 1]].tolist()
        assert own == sorted(set(codes[ends[i] : ends[i + 1]].tolist()))
