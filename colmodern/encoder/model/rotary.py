"""Rotary position embedding: pairs of dimensions, turned by an angle that grows with the position.

Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".
"""

from __future__ import annotations

import torch


def rotary_angles(
    base: float, n_positions: int, head_dim: int, device: torch.device
) -> torch.Tensor:
    """(n_positions, head_dim / 2) float32 angles of pairs of dimensions."""
    exponents = torch.arange(0, head_dim, 2, device=device).float() / head_dim
    positions = torch.arange(n_positions, device=device).float()
    return positions[:, None] * (1.0 / base**exponents)


def rotations_of(angles: torch.Tensor) -> torch.Tensor:
    """(n_positions, 1, head_dim / 2) complex64 factors that turn pairs by (n_positions, ..) angles."""
    return torch.complex(angles.cos(), angles.sin())[:, None]


def rotate(x: torch.Tensor, rotations: torch.Tensor, out: torch.Tensor) -> None:
    """Apply rotary position embedding, computed in float32.

    Args:
        x: (n, n_heads, head_dim), pairs of dimensions side by side.
        rotations: (n, 1, head_dim / 2) complex64.
        out: (n, n_heads, head_dim), overwritten.
    """
    pairs = as_complex(x.float())
    if out.dtype == torch.float32:
        torch.mul(pairs, rotations, out=as_complex(out))
    else:
        out.copy_(torch.view_as_real(pairs * rotations).flatten(-2))


def as_complex(x: torch.Tensor) -> torch.Tensor:
    """(..., head_dim / 2) complex64 view of (..., head_dim) float32 pairs side by side."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def pair_dimensions(qkv: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Reorder the output rows of Wqkv (or its bias) so that dimensions rotated together adjoin.

    Checkpoints rotate dimension i with i + head_dim / 2. Queries and keys are reordered alike, so
    no score changes.
    """
    n = len(qkv) // 3 * 2
    halves = qkv[:n].view(-1, 2, head_dim // 2, *qkv.shape[1:])
    return torch.cat([halves.transpose(1, 2).reshape(qkv[:n].shape), qkv[n:]])
