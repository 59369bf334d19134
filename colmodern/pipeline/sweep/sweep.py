"""One sweep config in, one folder out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colmodern.config.sweep import SweepConfig
from colmodern.environment import describe_environment
from colmodern.evaluation.sweep import Sweep
from colmodern.pipeline.open.data import source_of
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.open.job import load
from colmodern.pipeline.run_folder import SWEEP_CONFIG, check_publishable
from colmodern.pipeline.searchers.registry import make_searcher
from colmodern.pipeline.sweep.points import find_points
from colmodern.pipeline.sweep.run import run_points
from colmodern.pipeline.sweep.write import write_sweep
from colmodern.progress import Progress, as_progress


def check_sweeps(configs: Sequence[SweepConfig], encoders: LoadedEncoders) -> None:
    """Try every point of every sweep on its model, before any of them is run.

    Raises ConfigError, CheckpointError or StorageError for what cannot be.
    """
    for config in configs:
        check_publishable(folder_of(config), config=SWEEP_CONFIG)
        encoder = encoders.get(config.encoder)
        find_points(config, encoder)
        make_searcher(config.index, encoder.device)


def run_sweep(
    config: SweepConfig,
    *,
    encoders: LoadedEncoders | None = None,
    progress: Progress | bool | None = None,
) -> tuple[Sweep, Path]:
    """Measure every point of a grid and write the sweep's folder.

    Embeddings, exact results, indexes and searches that an earlier call finished are reused: from
    a sweep that was interrupted, from another one, or from an evaluation.

    Raises ColmodernError's subclasses for what the caller can mend, for a grid that cannot be
    before anything is run.
    """
    progress, encoders = as_progress(progress), encoders or LoadedEncoders()
    check_sweeps([config], encoders)
    prepared = load(config.evaluation(), encoders, progress=progress)
    points = find_points(config, prepared.encoder)
    sweep = run_points(config, prepared, points, progress)
    environment = {
        **describe_environment(),
        "model": prepared.encoder.describe(),
        "dataset": {
            "name": prepared.dataset.name,
            "source": source_of(config.dataset),
            "description": prepared.dataset.description,
            "revision": prepared.dataset.revision,
            "fingerprint": prepared.dataset.corpus.fingerprint,
        },
        "search": {"device": make_searcher(config.index, prepared.encoder.device).device},
    }
    folder = folder_of(config)
    write_sweep(folder, sweep, config, environment, progress)
    return sweep, folder


def folder_of(config: SweepConfig) -> Path:
    """Where a sweep's results go."""
    return Path(config.output) / config.name
