"""No stage waits for the GPU: on tensors without values, whatever asks for one is an error.

Run by tests/index/test_cuda.py in a process of its own, in Triton's interpreter or on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from colmodern.index.exact import cuda as cuda_exact
from colmodern.index.plaid.cuda.stages import Plan, find
from colmodern.index.plaid.cuda.upload import DeviceDocuments
from colmodern.kernels.cuda.compressed import Codebook, Tokens
from colmodern.kernels.cuda.programs import compressed, maxsim

N_DOCS, N_TOKENS, N_CENTROIDS, DIM = 50, 500, 20, 48


class NoLaunch:
    """In the place of a kernel: it runs nothing."""

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *given, **options: None


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        compressed: (
            "centroid_table", "table_to_bytes", "scan_codes", "score_tokens", "score_decoded",
        ),
        maxsim: ("maxsim_few", "maxsim_many"),
    }  # fmt: skip
    for module, kernels in names.items():
        for kernel in kernels:
            monkeypatch.setattr(module, kernel, NoLaunch())


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def corpus(*, is_shared: bool) -> DeviceDocuments:
    entries = empty(1 if is_shared else DIM // 2, 256, 2)
    tokens = Tokens(
        empty(N_DOCS + 1, dtype=torch.int64),
        empty(N_TOKENS, dtype=torch.int16),
        empty(N_TOKENS, dtype=torch.uint8),
        empty(N_TOKENS, DIM // 2, dtype=torch.uint8),
    )
    return DeviceDocuments(
        device=torch.device("meta"),
        first=0,
        tokens=tokens,
        distinct=tokens,
        centroids=empty(N_CENTROIDS, DIM, dtype=torch.int8),
        scales=empty(N_CENTROIDS),
        mean=empty(DIM),
        gain_step=empty(1),
        codebook=Codebook(empty(DIM // 2, 256, 2), None),
        longest=1.0,
        near_scales=empty(N_CENTROIDS),
        near_gain_step=empty(1),
        near_codebook=Codebook(entries.half(), empty(DIM) if is_shared else None),
        vectors=empty(N_DOCS, DIM),
    )


@pytest.mark.parametrize("n_queries", [1, 9])
@pytest.mark.parametrize(
    "n_lanes", [32, *(pytest.param(n, marks=pytest.mark.slow) for n in (16, 128))]
)
@pytest.mark.parametrize("n_open", [None, 40])
@pytest.mark.parametrize("plan", [Plan(20, 5), Plan(20, 20), Plan(40, 5), Plan(40, 40)])
def test_a_compressed_search_does_not_wait(
    n_queries: int, n_lanes: int, n_open: int | None, plan: Plan
) -> None:
    docs = None if n_open is None else empty(n_open, dtype=torch.int32)
    for is_shared in (True, False):
        queries = empty(n_queries, n_lanes, DIM)
        found = find(corpus(is_shared=is_shared), queries, docs, plan)
        n_all = plan.n_scored if plan.n_scored < (n_open or N_DOCS) else n_open or N_DOCS
        assert found.shape == (n_queries, 2, n_all)


@pytest.mark.parametrize("n_queries", [1, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8])
def test_an_exact_search_does_not_wait(n_queries: int, dtype: torch.dtype) -> None:
    chunk = cuda_exact._Chunk(
        0,
        empty(N_TOKENS, DIM, dtype=dtype),
        empty(N_DOCS + 1, dtype=torch.int64),
        empty(N_TOKENS) if dtype == torch.int8 else None,
    )
    for id_ranks in (None, empty(N_DOCS, dtype=torch.int32)):
        found = cuda_exact._find(chunk, empty(n_queries, 32, DIM), 7, id_ranks)
        assert found.shape == (n_queries, 3, 7)


def test_what_waits_would_be_seen() -> None:
    for wait in (torch.Tensor.item, torch.Tensor.nonzero, torch.Tensor.tolist):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait(empty(1))
