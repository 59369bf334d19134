"""The layers of ModernBERT on a GPU: one kernel for all that lies between two products."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from colmodern.encoder.model.attention import JoinedBuffers, block_of
from colmodern.encoder.model.gpu_attention import GpuAttention
from colmodern.encoder.model.packing import Packing
from colmodern.encoder.model.rotary import rotary_angles
from colmodern.kernels.cuda.encoder import add_norm, gelu_gate, rotate
from colmodern.kernels.cuda.memory import on, to_device
from colmodern.kernels.cuda.runtime import is_interpreted

if TYPE_CHECKING:
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)

_FLOAT32 = 4
_LEAST_ROWS = 4096  # so few rows go through the MLP together, and more in two chunks


class ProductWeights(NamedTuple):
    """Weight and bias of a product, or those of a norm in float32."""

    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True)
class FusedLayer:
    """The weights of a layer.

    Attributes:
        is_local: Whether attention is limited to a window.
        attention_norm: Norm before attention, None to leave its input as it is.
        mlp_norm: Norm before the MLP.
        qkv: Queries, keys and values, dimensions that are rotated together side by side.
        attention_out: The product after attention.
        mlp_in: The product before the gated gelu, (2 * intermediate_size, hidden_size).
        mlp_out: The product after it.
    """

    is_local: bool
    attention_norm: ProductWeights | None
    mlp_norm: ProductWeights
    qkv: ProductWeights
    attention_out: ProductWeights
    mlp_in: ProductWeights
    mlp_out: ProductWeights


class FusedLayers:
    """All layers and the norm after them."""

    def __init__(
        self,
        layers: list[FusedLayer],
        final_norm: ProductWeights,
        config: PretrainedConfig,
        bases: dict[bool, float],
    ) -> None:
        """Keep the weights, which are on the GPU.

        Args:
            layers: The layers in their order.
            final_norm: The norm after the last.
            config: The configuration of the backbone.
            bases: Bases of the rotary angles in local (True) and global layers.
        """
        self._layers, self._final_norm, self._bases = layers, final_norm, bases
        self._eps, self._half = config.norm_eps, config.local_attention // 2
        n_heads = config.num_attention_heads
        self._heads = (n_heads, config.hidden_size // n_heads)

    def __call__(self, x: torch.Tensor, packing: Packing) -> torch.Tensor:
        """Run all layers.

        Args:
            x: (n_tokens, hidden_size) float32 rows in packed order, overwritten by the sum over
                layers.
            packing: The batch, with at least one token.

        Returns:
            (n_tokens, hidden_size) hidden states in the dtype of the products.
        """
        dtype = self._layers[0].qkv.weight.dtype
        with on(x.device):
            attention = GpuAttention(packing, self._half, x.new_empty(0, dtype=dtype))
            positions = to_device(packing.positions().astype(np.int32), x.device)
            longest = packing.groups[0].length
            angles = {kind: self._angles(base, longest, x) for kind, base in self._bases.items()}
            normed = torch.empty_like(x, dtype=dtype)
            self._norm(self._layers[0].attention_norm, x, None, normed)
            following = [layer.attention_norm for layer in self._layers[1:]]
            for layer, norm in zip(self._layers, [*following, self._final_norm], strict=True):
                cosines, sines = angles[layer.is_local]
                buffers = JoinedBuffers(len(x), normed, shape=self._heads, half=attention.margin)
                _multiply(normed, layer.qkv, buffers.rows.flatten(1))
                rotate(buffers.rows, cosines, sines, positions)
                output = attention(buffers, is_local=layer.is_local)
                addend = F.linear(output, *layer.attention_out)
                del buffers, output  # their memory is the MLP's
                self._norm(layer.mlp_norm, x, addend, normed)
                del addend
                self._run_mlp(layer, norm, x, normed)
        return normed

    def _run_mlp(
        self, layer: FusedLayer, norm: ProductWeights | None, x: torch.Tensor, normed: torch.Tensor
    ) -> None:
        """Add the MLP of normed rows to ``x``, and overwrite them with the next layer's input."""
        for rows in mlp_chunks(len(x)):
            hidden = F.linear(normed[rows], *layer.mlp_in)
            gated = hidden.new_empty((len(hidden), hidden.shape[1] // 2))
            gelu_gate(hidden, gated)
            del hidden
            self._norm(norm, x[rows], F.linear(gated, *layer.mlp_out), normed[rows])

    def _norm(
        self,
        norm: ProductWeights | None,
        x: torch.Tensor,
        addend: torch.Tensor | None,
        out: torch.Tensor,
    ) -> None:
        if norm is not None:
            add_norm(x, addend, norm.weight, norm.bias, self._eps, out)
            return
        if addend is not None:
            x += addend
        out.copy_(x)

    def _angles(
        self, base: float, longest: int, like: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, each (longest, head_dim / 2) float32."""
        angles = rotary_angles(base, longest, self._heads[1], like.device)
        return angles.cos(), angles.sin()


def _multiply(rows: torch.Tensor, weights: ProductWeights, out: torch.Tensor) -> None:
    if weights.bias is None:
        torch.mm(rows, weights.weight.T, out=out)
    else:
        torch.addmm(weights.bias, rows, weights.weight.T, out=out)


def mlp_chunks(n_rows: int) -> Iterator[slice]:
    """Rows that go through the MLP at a time: two halves, whose memory is that of attention."""
    size = max(_LEAST_ROWS, -(-n_rows // 256) * 128)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def can_fuse(config: PretrainedConfig, device: torch.device) -> bool:
    """Whether the fused layers run a model of this configuration on this device."""
    head_dim = config.hidden_size // config.num_attention_heads
    is_power = head_dim >= 2 and head_dim & (head_dim - 1) == 0
    if device.type != "cuda" and not is_interpreted():
        return False
    return is_power and find_spec("triton") is not None and _can_launch(device)


@cache
def _can_launch(device: torch.device) -> bool:
    """Whether kernels compile here; Triton needs a C compiler, and not too old a GPU."""
    row = torch.zeros((1, 16), device=device)
    try:
        with on(device):
            add_norm(row, None, row[0], None, 1.0, row)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton has no class of its own for all that may be missing
        logger.warning(
            "kernels in Triton do not run on %s, so the encoder takes torch's, at less than half "
            "the speed: %s",
            device,
            str(error).strip().split("\n")[0],
        )
        return False
    return True


def fused_bytes(config: PretrainedConfig, item: int, device: torch.device) -> tuple[int, int]:
    """Bytes of a batch whatever its size, and bytes of each of its tokens, in the fused layers.

    Args:
        config: The configuration of the backbone.
        item: Bytes of an activation.
        device: Where the layers run.
    """
    hidden, between = config.hidden_size, config.intermediate_size
    kept = hidden * (_FLOAT32 + item)  # the sum over layers, and its norm
    # queries, keys, values and output, and the output again where parts of it are joined
    attention = 5 * hidden * item
    attention += (block_of(device) + config.local_attention) * (item + 2)  # mask of a band
    mlp = 2 * between * item + between * item + hidden * item
    margins = (block_of(device) + config.local_attention) * 3 * hidden * item
    return margins + _LEAST_ROWS * mlp, int(kept + max(attention, mlp // 2) + 1024)
