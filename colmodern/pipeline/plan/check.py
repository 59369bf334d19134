"""Refusing what cannot fit, before anything is spent."""

from __future__ import annotations

from colmodern.config.models import EvalConfig
from colmodern.encoder.encoder import Encoder
from colmodern.pipeline.plan.memory import check_memory
from colmodern.pipeline.sample import take_sample
from colmodern.types import Dataset

_SAMPLE = 300  # documents: memory hangs on the number of tokens, but loosely


def check_fits(config: EvalConfig, dataset: Dataset, encoder: Encoder) -> None:
    """Hold what an evaluation takes against its ``max_memory``, from a sample of its documents.

    Raises ResourceError with the settings that would fit.
    """
    if config.max_memory is not None:
        sample = take_sample(dataset, encoder, config.dataset, size=_SAMPLE, seed=0)
        check_memory(config, encoder, sample)
