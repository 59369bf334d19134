"""PyLate's losses, by the objective of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from colmodern.config.train import (
    CachedContrastiveConfig,
    ContrastiveConfig,
    DistillationConfig,
    Objective,
)
from colmodern.optional import require

if TYPE_CHECKING:
    from pylate.models import ColBERT


def make_loss(objective: Objective, model: ColBERT) -> torch.nn.Module:
    """The loss that the trainer calls.

    Raises:
        MissingExtraError: PyLate is not installed.
    """
    losses = pylate("losses")
    loss: torch.nn.Module
    if isinstance(objective, DistillationConfig):
        if objective.temperature == 1.0:
            loss = losses.Distillation(model, normalize_scores=objective.normalize)
        else:
            score = _TemperatureScores(objective.temperature, is_normalized=objective.normalize)
            loss = losses.Distillation(model, score_metric=score, normalize_scores=False)
    elif isinstance(objective, CachedContrastiveConfig):
        loss = losses.CachedContrastive(
            model,
            mini_batch_size=objective.mini_batch,
            gather_across_devices=objective.gather,
            temperature=objective.temperature,
        )
    else:
        assert isinstance(objective, ContrastiveConfig)
        loss = losses.Contrastive(
            model, gather_across_devices=objective.gather, temperature=objective.temperature
        )
    return loss


def pylate(module: str) -> Any:
    """A module of PyLate by its name, as "models".

    Raises:
        MissingExtraError: PyLate is not installed.
    """
    require("pylate", extra="train")
    return require(f"pylate.{module}", extra="train")


class _TemperatureScores:
    """PyLate's scores of a query's documents divided by a temperature, normalized to [0, 1] first.

    PyLate itself normalizes last, which would undo the division.
    """

    def __init__(self, temperature: float, *, is_normalized: bool) -> None:
        self._score = pylate("scores").colbert_kd_scores
        self._temperature = temperature
        self._is_normalized = is_normalized

    def __call__(self, *embeddings: torch.Tensor, **masks: torch.Tensor | None) -> torch.Tensor:
        """(n_queries, n_ways) scores of what ``colbert_kd_scores`` takes."""
        scores: torch.Tensor = self._score(*embeddings, **masks)
        if self._is_normalized:
            least, most = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
            scores = (scores - least) / (most - least + 1e-8)
        return scores / self._temperature
