"""The sources of a config as the ``datasets.Dataset`` objects that the trainer mixes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colmodern.config.train import DistillationConfig, SourceConfig, TrainConfig
from colmodern.errors import DataError
from colmodern.files import replacing, sha256_of_file
from colmodern.progress import Progress, as_progress
from colmodern.reading import user_path
from colmodern.training.examples import (
    Example,
    LocatedRow,
    check_rows,
    is_file_name,
    read_rows,
    scale_scores,
)
from colmodern.training.text_join import TextJoin

if TYPE_CHECKING:
    import datasets

_CHUNK = 1000  # examples written at a time


@dataclass(frozen=True)
class Source:
    """A set of examples, ready for the trainer, and what the model card says about it."""

    name: str
    examples: datasets.Dataset  # with the columns of ``check_rows``
    facts: dict[str, Any]


def load_sources(
    config: TrainConfig, folder: Path, *, progress: Progress | bool | None = None
) -> list[Source]:
    """Read, check and weigh all sources of a training; texts are mapped from disk.

    Args:
        config: The training's config.
        folder: Gets a file for each source; the returned sets read it.
        progress: True for a bar on stderr.

    Raises:
        DataError: A row is malformed; the message names the file, the line and the fault.
    """
    progress = as_progress(progress)
    objective = config.objective
    teacher = objective if isinstance(objective, DistillationConfig) else None
    sources = []
    for number, source in enumerate(config.data):
        name = f"{number}_{Path(source.path.rstrip('/')).name.split('.')[0] or 'data'}"
        examples, facts = _load(source, teacher, folder / f"{name}.arrow", progress)
        sample = weigh(len(examples), source.weight, config.optimisation.seed + number)
        if not sample:
            raise DataError(
                f"{source.path} has {len(examples)} rows, and weight={source.weight} leaves none; "
                "raise it"
            )
        facts |= {"rows": len(examples), "rows_in_an_epoch": len(sample)}
        sources.append(Source(name, examples.select(sample), facts))
    return sources


def weigh(n_rows: int, weight: float, seed: int) -> Sequence[int]:
    """Indices of the rows of an epoch, ascending; a row repeats as often as the weight says.

    Args:
        n_rows: Rows of the source.
        weight: How often each row comes; its fraction is a random sample.
        seed: Seed of the sample.
    """
    if weight == 1.0:
        return range(n_rows)
    whole = int(weight)
    extra = random.Random(seed).sample(range(n_rows), round((weight - whole) * n_rows))
    return sorted([*(row for row in range(n_rows) for _ in range(whole)), *extra])


def _load(
    source: SourceConfig, teacher: DistillationConfig | None, file: Path, progress: Progress
) -> tuple[datasets.Dataset, dict[str, object]]:
    facts: dict[str, Any] = {"path": source.path, "kind": source.kind, "weight": source.weight}
    if is_file_name(source.path):
        path = user_path(source.path, DataError)
        if not os.path.isfile(path):
            raise DataError(f"no file {source.path}; data paths are relative to where you run")
        facts["sha256"] = sha256_of_file(path)
        rows = read_rows(path)
    else:
        hub = _hub(source, source.subset)
        facts |= {"subset": source.subset, "split": source.split, "revision": source.revision}
        if source.queries is not None and source.documents is not None:
            if source.max_rows is not None:
                hub = hub.select(range(min(source.max_rows, len(hub))))
            texts = _hub(source, source.queries), _hub(source, source.documents)
            return TextJoin(hub, *texts, source=source, teacher=teacher).dataset(), facts
        rows = ((f"{source.path}, row {i}", row) for i, row in enumerate(hub, start=1))
    return _write_examples(_examples(rows, source, teacher), source, file, progress), facts


def _examples(
    rows: Iterator[LocatedRow], source: SourceConfig, teacher: DistillationConfig | None
) -> Iterator[Example]:
    for example in check_rows(islice(rows, source.max_rows), source.kind, source.n_ways):
        if teacher is not None:
            example["scores"] = scale_scores(example["scores"], teacher)
        yield example


def _write_examples(
    examples: Iterator[Example], source: SourceConfig, file: Path, progress: Progress
) -> datasets.Dataset:
    """Write examples as an Arrow stream, and map it as a dataset."""
    import datasets
    import pyarrow as pa

    chunk = list(islice(examples, _CHUNK))
    if not chunk:
        raise DataError(f"{source.path} has no rows; give at least one")
    schema = pa.Table.from_pylist(chunk[:1]).schema  # check_rows gives all rows the same types
    progress.start("read examples", source.max_rows or 0, unit="rows")
    with (
        replacing(file) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as stream,
    ):
        while chunk:
            stream.write_table(pa.Table.from_pylist(chunk, schema=schema))
            progress.advance(len(chunk))
            chunk = list(islice(examples, _CHUNK))
    progress.finish()
    return datasets.Dataset.from_file(str(file))


def _hub(source: SourceConfig, subset: str | None) -> datasets.Dataset:
    import datasets

    description = f"{source.path}, {subset or 'its only config'}, split {source.split}"
    folder = user_path(source.path, DataError)
    # the library does not notice that files of a folder changed: it would serve its cached copy
    uncached = {"download_mode": "force_redownload", "verification_mode": "no_checks"}
    options = uncached if os.path.isdir(folder) else {}
    path = str(folder) if os.path.isdir(folder) else source.path
    try:
        return datasets.load_dataset(
            path, subset, split=source.split, revision=source.revision, **options
        )
    except Exception as error:  # whatever the network, the hub and the file formats raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot read {description}: {reason}. Check the name and the connection; a file of your own "
            "ends in .jsonl, .jsonl.gz or .parquet"
        ) from error
