"""An evaluation that is ready to start: its config resolved, its collection and encoder loaded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colmodern.config.load import build
from colmodern.config.models import BUILT_IN_MODEL, EncoderConfig, EvalConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError
from colmodern.evaluation.measures import parse_measure
from colmodern.files import sha256_of_json
from colmodern.pipeline.machine_faults import ENCODING, check_address_space
from colmodern.pipeline.open.data import dataset_from_config, resolve_dataset
from colmodern.pipeline.open.encoder import LoadedEncoders
from colmodern.pipeline.result import Timing
from colmodern.pipeline.searchers.registry import make_searcher
from colmodern.progress import Progress
from colmodern.types import Dataset


@dataclass(frozen=True)
class EvalJob:
    """An evaluation with all that it needs to start."""

    config: EvalConfig  # resolved
    dataset: Dataset
    encoder: Encoder  # the built-in one where no model is needed
    started: float  # time.perf_counter() before collection and model were loaded
    loading: Mapping[str, Timing]  # what these took

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return Path(self.config.output) / self.config.name

    def inputs(self) -> dict[str, str]:
        """Digests of all that the result depends on beside the config."""
        prompted, encoder = self.dataset.prompted, self.encoder
        encoders = {
            "document_encoder": encoder.fingerprint("document"),
            "query_encoder": encoder.fingerprint("query"),
        }
        return {
            "documents": self.dataset.corpus.fingerprint,
            "queries": sha256_of_json(list(self.dataset.queries.items())),
            **({"prompted": sha256_of_json(list(prompted.items()))} if prompted else {}),
            "qrels": sha256_of_json(self.dataset.qrels),
            **(
                {"excluded": sha256_of_json(self.dataset.excluded)} if self.dataset.excluded else {}
            ),
            **(encoders if self.config.needs_model else {}),
            **make_searcher(self.config.index, encoder.device).inputs(),
        }


def load(config: EvalConfig, encoders: LoadedEncoders, *, progress: Progress) -> EvalJob:
    """Check a config and load collection and model, without looking at the run's folder."""
    started = time.perf_counter()
    for measure in config.measures:
        parse_measure(measure)
    progress.note(f"data set {config.dataset.name}")
    dataset = dataset_from_config(config.dataset)
    _expect_room_for_excluded(config, dataset)
    read = time.perf_counter()
    needs_model = config.needs_model
    encoder = encoders.get(config.encoder if needs_model else EncoderConfig(model=BUILT_IN_MODEL))
    check_address_space(ENCODING, "encoding")
    make_searcher(config.index, encoder.device)  # a device that is not there is refused now
    loading = {
        "load data": Timing(read - started, len(dataset.corpus), "documents", False),
        "load model": Timing(time.perf_counter() - read, 1, "models", False),
    }
    return EvalJob(resolve(config, encoder), dataset, encoder, started, loading)


def _expect_room_for_excluded(config: EvalConfig, dataset: Dataset) -> None:
    """Raise ConfigError where an index gives fewer documents than k and those left out of a query."""
    n_excluded = max(map(len, dataset.excluded.values()), default=0)
    most, k = getattr(config.index, "n_candidates", None), config.search.k
    if n_excluded and most is not None and most < k + n_excluded:
        raise ConfigError(
            f"index.n_candidates={most} is below search.k={k} and the {n_excluded} documents that a query "
            f"of {dataset.name} excludes; raise it, lower search.k, or leave it out"
        )


def resolve(config: EvalConfig, encoder: Encoder) -> EvalConfig:
    """The config with everything filled in that checkpoint, collection and machine decide.

    Raises ConfigError when what they decide does not fit the rest.
    """
    values = config.model_dump()
    if config.needs_model:
        values["encoder"] |= {
            **encoder.settings.as_overrides(),
            "device": encoder.device,
            "revision": encoder.checkpoint.revision or config.encoder.revision,
        }
    values["dataset"] = resolve_dataset(config.dataset).model_dump(exclude_none=True)
    return build(EvalConfig, values, source=config.name)
