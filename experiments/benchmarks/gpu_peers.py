"""The same scores by other packages, where they can be imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch

from colmodern.kernels.cuda.compressed import Tokens

Call = Callable[[], torch.Tensor]
_ROWS = 1 << 22  # similarities at a time, of the truth


@dataclass(frozen=True, eq=False)
class Documents:
    """values: (n_tokens, dim); offsets: (n_docs + 1,) int64."""

    values: torch.Tensor
    offsets: torch.Tensor

    @property
    def longest(self) -> int:
        """Tokens of the longest document."""
        return int((self.offsets[1:] - self.offsets[:-1]).max())

    def padded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(n_docs, longest, dim) and a mask of what is no token."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        positions = torch.arange(self.longest, device=self.values.device)
        inside = torch.minimum(positions, lengths[:, None] - 1)
        return self.values[self.offsets[:-1, None] + inside], positions >= lengths[:, None]

    def truth(self, queries: torch.Tensor) -> torch.Tensor:
        """(n_queries, n_docs) by float32 products and segment maxima."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        owners = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        out = []
        for query in queries.float():
            best = torch.full((len(lengths), len(query)), -torch.inf, device=lengths.device)
            step = max(1, _ROWS // len(query))
            for at in range(0, len(self.values), step):
                products = self.values[at : at + step].float() @ query.T
                index = owners[at : at + step, None].expand_as(products)
                best.scatter_reduce_(0, index, products, "amax")
            out.append(best.sum(dim=1))
        return torch.stack(out)


def peers(queries: torch.Tensor, documents: Documents) -> tuple[tuple[str, Call], ...]:
    """(package, call) for each peer; what is missing is printed once."""
    timed = [("torch einsum", _einsum(queries, documents))]
    if (late := _module("late_interaction_kernels")) is not None:
        timed.append(("late-interaction-kernels", _late(late, queries, documents)))
    if (flash := _module("flash_maxsim")) is not None:
        timed.append(("flash-maxsim", _flash(flash, queries, documents)))
    return tuple(timed)


@cache
def _module(name: str) -> Any:
    try:
        return import_module(name)
    except Exception as error:  # whatever it stumbles over at import
        print(f"left out: {name} ({type(error).__name__}: {error})")
        return None


def _einsum(queries: torch.Tensor, documents: Documents) -> Call:
    """Padded documents, one query at a time: all similarities of a query are in memory."""
    padded = cache(documents.padded)

    def call() -> torch.Tensor:
        values, is_padding = padded()
        scores = []
        for query in queries:
            similarities = torch.einsum("qd,nld->nql", query, values)
            similarities.masked_fill_(is_padding[:, None], -torch.inf)
            scores.append(similarities.amax(dim=2).float().sum(dim=1))
        return torch.stack(scores)

    return call


def _late(late: Any, queries: torch.Tensor, documents: Documents) -> Call:
    n, n_tokens, dim = queries.shape
    packed = queries.reshape(n * n_tokens, dim).contiguous()
    starts = torch.arange(n + 1, device=queries.device, dtype=torch.int32) * n_tokens
    ends, longest = documents.offsets.int(), documents.longest
    return lambda: late.maxsim_varlen(packed, documents.values, starts, ends, n_tokens, longest)


def _flash(flash: Any, queries: torch.Tensor, documents: Documents) -> Call:
    """One query over packed documents; many over padded ones, as it offers them."""
    if len(queries) == 1:
        query, values = queries[0].half(), documents.values.half()
        ends, longest = documents.offsets.int(), documents.longest
        return lambda: flash.flash_maxsim_packed(query, values, ends, longest)[None]
    padded = cache(lambda: documents.padded()[0].half())
    lengths = (documents.offsets[1:] - documents.offsets[:-1]).int()
    half_queries = queries.half()
    return lambda: flash.flash_maxsim_batched(half_queries, padded(), lengths)


def residual_peer(
    queries: torch.Tensor, tokens: Tokens, centroids: torch.Tensor, n_docs: int
) -> tuple[tuple[str, Call], ...]:
    """late-interaction-kernels' residual kernel on the first documents."""
    plaid = _module("late_interaction_kernels.plaid")
    if plaid is None:
        return ()
    offsets = tokens.doc_offsets[: n_docs + 1]
    n_tokens = int(offsets[-1])
    longest = int((offsets[1:] - offsets[:-1]).max())
    rows = centroids.half() / 73 / centroids.shape[1] ** 0.5
    weights = torch.linspace(-0.1, 0.1, 16, device=queries.device)
    half_queries = queries.half()
    arguments = (
        tokens.codes[:n_tokens],
        tokens.residuals[:n_tokens],
        offsets.int(),
        rows,
        weights,
        4,
    )
    return (
        (
            "late-interaction-kernels",
            lambda: plaid.maxsim_residual_varlen(half_queries, *arguments, max_seqlen_d=longest),
        ),
    )
