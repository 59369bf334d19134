"""Exact MaxSim through torch, on CPU and CUDA: one matrix product, then segment maxima."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch

from colmodern.kernels.types import Int64s, Values


def maxsim_scores(
    query_values: Values,
    query_offsets: Int64s,
    doc_values: Values,
    doc_offsets: Int64s,
    *,
    device: str = "cpu",
    max_similarities: int = 1 << 26,
) -> npt.NDArray[np.float32]:
    """MaxSim of every query with every document.

    Products and sums are float32, whatever the dtype of the values and also inside a caller's
    autocast. On CUDA that means without TF32, unless the caller turned it on in torch.

    Args:
        query_values: (n_query_tokens, dim).
        query_offsets: (n_queries + 1,) int64.
        doc_values: (n_doc_tokens, dim).
        doc_offsets: (n_docs + 1,) int64.
        device: "cpu", "cuda" or "cuda:N".
        max_similarities: How many float32 similarities exist at a time; queries are taken in groups
            that keep to it (a single query token against all documents is the smallest).

    Returns:
        (n_queries, n_docs) float32.
    """
    n_queries, n_docs = len(query_offsets) - 1, len(doc_offsets) - 1
    scores = np.zeros((n_queries, n_docs), np.float32)
    if len(query_values) == 0 or len(doc_values) == 0:
        return scores
    documents = _to_device(doc_values, device)
    lengths = torch.from_numpy(np.diff(doc_offsets)).to(device)
    owners = torch.repeat_interleave(torch.arange(n_docs, device=device), lengths)
    group = max(1, max_similarities // len(doc_values))
    for start in range(0, len(query_values), group):
        stop = min(start + group, len(query_values))
        best = _segment_maxima(
            documents, _to_device(query_values[start:stop], device), owners, n_docs
        )
        best[lengths == 0] = 0.0
        first = int(np.searchsorted(query_offsets, start, side="right")) - 1
        last = int(np.searchsorted(query_offsets, stop, side="left"))
        for query in range(first, last):
            tokens = slice(
                max(int(query_offsets[query]), start) - start,
                min(int(query_offsets[query + 1]), stop) - start,
            )
            scores[query] += best[:, tokens].sum(dim=1).cpu().numpy()
        del best  # before the next one is made beside it
    return scores


def _segment_maxima(
    documents: torch.Tensor, query: torch.Tensor, owners: torch.Tensor, n_docs: int
) -> torch.Tensor:
    """(n_docs, n_query_tokens) best similarity of each query token in each document."""
    best = torch.full((n_docs, len(query)), -torch.inf, device=documents.device)
    kind = documents.device.type
    with torch.autocast(kind, enabled=False), warnings.catch_warnings():
        # torch calls index_reduce a beta; a property test holds it to the reference
        warnings.filterwarnings("ignore", message="index_reduce")
        return best.index_reduce_(0, owners, documents @ query.T, "amax")


def _to_device(values: Values, device: str) -> torch.Tensor:
    with warnings.catch_warnings():
        # memory-mapped arrays are read-only; torch warns, and nothing here writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(np.ascontiguousarray(values)).to(device).to(torch.float32)
