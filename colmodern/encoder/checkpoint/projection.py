"""The projection: layers between a backbone's hidden states and the token embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from colmodern.encoder.checkpoint.files import DAMAGED
from colmodern.errors import CheckpointError


@dataclass(frozen=True)
class Layer:
    """activation(x @ weight.T + bias), plus x or x @ residual.T when the layer is residual."""

    weight: torch.Tensor  # (out, in)
    bias: torch.Tensor | None = None  # (out,)
    activation: str = "Identity"  # a class of torch.nn
    is_residual: bool = False
    residual: torch.Tensor | None = None  # (out, in), where out differs from in


class Projection(torch.nn.Module):
    """Layers in sequence; without layers, hidden states pass unchanged."""

    def __init__(self, layers: tuple[Layer, ...], hidden_size: int) -> None:
        """Check that layers fit each other and hidden states of ``hidden_size``."""
        super().__init__()
        _check_widths(layers, hidden_size)
        self._linears = torch.nn.ModuleList(_linear(layer.weight, layer.bias) for layer in layers)
        self._activations = torch.nn.ModuleList(_activation(layer.activation) for layer in layers)
        self._residuals = torch.nn.ModuleList(
            torch.nn.Identity() if layer.residual is None else _linear(layer.residual, None)
            for layer in layers
        )
        self._is_residual = [layer.is_residual for layer in layers]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., hidden_size) hidden states to (..., dim)."""
        for linear, activation, residual, is_residual in zip(
            self._linears, self._activations, self._residuals, self._is_residual, strict=True
        ):
            projected = activation(linear(hidden))
            hidden = projected + residual(hidden) if is_residual else projected
        return hidden


def seeded_layer(hidden_size: int, dim: int, *, seed: int) -> Layer:
    """A new, untrained projection: normal weights of variance 1 / hidden_size, no bias."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(dim, hidden_size, generator=generator) / hidden_size**0.5
    return Layer(weight)


def read_dense(folder: Path, config: dict[str, Any]) -> Layer:
    """Read a Dense folder as PyLate and sentence-transformers save it.

    Args:
        folder: The module's folder.
        config: The content of its config.json.

    Raises:
        CheckpointError: The weights are damaged or the activation is not a class of torch.nn.
    """
    weights = read_weights(folder)
    if "linear.weight" not in weights:
        raise CheckpointError(f"{folder} has no tensor linear.weight; the checkpoint is damaged")
    activation = str(config.get("activation_function") or "torch.nn.modules.linear.Identity")
    if not activation.startswith("torch.nn."):
        raise CheckpointError(
            f"{folder}/config.json has activation_function={activation!r}; only classes of torch.nn "
            "are loaded"
        )
    return Layer(
        weights["linear.weight"],
        weights.get("linear.bias"),
        activation.rpartition(".")[2],
        bool(config.get("use_residual", False)),
        weights.get("residual.weight"),
    )


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of model.safetensors, else of pytorch_model.bin (weights only, no code).

    Raises:
        CheckpointError: A file is damaged, or there is none.
    """
    try:
        if (path := folder / "model.safetensors").is_file():
            return load_file(path)
        if (path := folder / "pytorch_model.bin").is_file():
            tensors: dict[str, torch.Tensor] = torch.load(
                path, map_location="cpu", weights_only=True
            )
            return tensors
    except DAMAGED as error:
        raise CheckpointError(f"{path} is damaged ({error}); fetch the checkpoint again") from error
    raise CheckpointError(f"{folder} has neither model.safetensors nor pytorch_model.bin")


def _check_widths(layers: tuple[Layer, ...], width: int) -> None:
    """Raise CheckpointError where a layer does not take what the one before it gives."""
    for number, layer in enumerate(layers):
        n_out = len(layer.weight) if layer.weight.ndim == 2 else 0
        shapes: dict[str, tuple[int, ...]] = {"weight": (n_out, width)}
        if layer.bias is not None:
            shapes["bias"] = (n_out,)
        if layer.residual is not None:
            shapes["residual"] = (n_out, width)
        elif layer.is_residual and n_out != width:
            raise CheckpointError(
                f"layer {number} of the projection is residual, but takes {width} dimensions and "
                f"gives {n_out}; fetch the checkpoint again"
            )
        for name, shape in shapes.items():
            actual = tuple(getattr(layer, name).shape)
            if actual != shape or not n_out:
                raise CheckpointError(
                    f"layer {number} of the projection has a {name} of shape {actual} for hidden "
                    f"states of {width} dimensions; fetch the checkpoint again"
                )
        width = n_out


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.nn.Linear:
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        linear.bias = torch.nn.Parameter(bias.clone(), requires_grad=False)
    return linear


def _activation(name: str) -> torch.nn.Module:
    kind = getattr(torch.nn, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise CheckpointError(f"torch.nn has no activation {name!r}; the checkpoint needs it")
    try:
        return kind()
    except TypeError as error:
        raise CheckpointError(
            f"torch.nn.{name} is not an activation; the checkpoint is damaged"
        ) from error
