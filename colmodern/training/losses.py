"""Which of PyLate's losses an objective is."""

from __future__ import annotations

from typing import Any

import torch

from colmodern.config.train import (
    CachedContrastiveConfig,
    ContrastiveConfig,
    DistillationConfig,
    Objective,
)
from colmodern.optional import require


def make_loss(objective: Objective, model: Any) -> Any:
    """The torch module that the trainer calls; model: pylate.models.ColBERT.

    Raises MissingExtraError without PyLate.
    """
    losses = pylate("losses")
    if isinstance(objective, DistillationConfig):
        if objective.temperature == 1.0:
            return losses.Distillation(model, normalize_scores=objective.normalize)
        score = _Sharpened(objective.temperature, is_normalized=objective.normalize)
        return losses.Distillation(model, score_metric=score, normalize_scores=False)
    if isinstance(objective, CachedContrastiveConfig):
        return losses.CachedContrastive(
            model,
            mini_batch_size=objective.mini_batch,
            gather_across_devices=objective.gather,
            temperature=objective.temperature,
        )
    assert isinstance(objective, ContrastiveConfig)
    return losses.Contrastive(
        model, gather_across_devices=objective.gather, temperature=objective.temperature
    )


def pylate(part: str) -> Any:
    """A module of PyLate, as "models"; raises MissingExtraError without it."""
    require("pylate", extra="train")
    return require(f"pylate.{part}", extra="train")


class _Sharpened:
    """PyLate's scores of a query's documents, from 0 to 1 if asked for, divided by a temperature.

    PyLate normalises last, and would undo the division.
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
