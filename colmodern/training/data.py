"""From the sources of a config to the `datasets` that the trainer mixes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from colmodern.config.train import DistillationConfig, SourceConfig, TrainConfig
from colmodern.errors import DataError
from colmodern.files import replacing, sha256_of_file
from colmodern.progress import Progress, as_progress
from colmodern.reading import user_path
from colmodern.training.examples import Example, Placed, checked, is_file_name, read_rows, scaled
from colmodern.training.joined import Joined

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Source:
    """One set of examples, ready for the trainer, and what the model card says of it."""

    name: str
    rows: Any  # datasets.Dataset with the columns of examples.checked
    facts: dict[str, Any]


def load_sources(
    config: TrainConfig, folder: Path, *, progress: Progress | bool | None = None
) -> list[Source]:
    """Read, check and weigh all sources of a training; texts are mapped from disk.

    folder: gets a file of each source, which the returned sets read

    Raises DataError that names the file, the line and the fault.
    """
    progress = as_progress(progress)
    objective = config.objective
    teacher = objective if isinstance(objective, DistillationConfig) else None
    sources = []
    for place, source in enumerate(config.data):
        name = f"{place}_{Path(source.path.rstrip('/')).name.split('.')[0] or 'data'}"
        rows, facts = _load(source, teacher, folder / f"{name}.arrow", progress)
        chosen = weigh(len(rows), source.weight, config.optimisation.seed + place)
        if not chosen:
            raise DataError(
                f"{source.path} has {len(rows)} rows, and weight={source.weight} leaves none; raise it"
            )
        facts |= {"rows": len(rows), "rows_in_an_epoch": len(chosen)}
        sources.append(Source(name, rows.select(chosen), facts))
    return sources


def weigh(n: int, weight: float, seed: int) -> Sequence[int]:
    """Numbers of ``n`` rows, each as often as weight says, its fraction by chance, in order."""
    if weight == 1.0:
        return range(n)
    whole = int(weight)
    extra = random.Random(seed).sample(range(n), round((weight - whole) * n))
    return sorted([*(row for row in range(n) for _ in range(whole)), *extra])


def _load(
    source: SourceConfig, teacher: DistillationConfig | None, file: Path, progress: Progress
) -> tuple[Any, dict[str, Any]]:
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
            return Joined(hub, *texts, source=source, teacher=teacher).rows(), facts
        rows = ((f"{source.path}, row {i}", row) for i, row in enumerate(hub, start=1))
    return _on_disk(_examples(rows, source, teacher), source, file, progress), facts


def _examples(
    rows: Iterator[Placed], source: SourceConfig, teacher: DistillationConfig | None
) -> Iterator[Example]:
    for example in checked(islice(rows, source.max_rows), source.kind, source.n_ways):
        if teacher is not None:
            example["scores"] = scaled(example["scores"], teacher)
        yield example


def _on_disk(examples: Iterator[Example], source: SourceConfig, file: Path, told: Progress) -> Any:
    """Write examples as an Arrow stream and map it: a datasets.Dataset."""
    import datasets
    import pyarrow as pa

    group = list(islice(examples, _ROWS_AT_ONCE))
    if not group:
        raise DataError(f"{source.path} has no rows; give at least one")
    schema = pa.Table.from_pylist(group[:1]).schema  # checked: text, lists of text, of floats
    told.start("read examples", source.max_rows or 0, unit="rows")
    with (
        replacing(file) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as stream,
    ):
        while group:
            stream.write_table(pa.Table.from_pylist(group, schema=schema))
            told.advance(len(group))
            group = list(islice(examples, _ROWS_AT_ONCE))
    told.finish()
    return datasets.Dataset.from_file(str(file))


def _hub(source: SourceConfig, subset: str | None) -> Any:
    import datasets

    place = f"{source.path}, {subset or 'its only config'}, split {source.split}"
    folder = user_path(source.path, DataError)
    # the library does not see that files of a folder changed, and would give what it read before
    anew = {"download_mode": "force_redownload", "verification_mode": "no_checks"}
    options = anew if os.path.isdir(folder) else {}
    path = str(folder) if os.path.isdir(folder) else source.path
    try:
        return datasets.load_dataset(
            path, subset, split=source.split, revision=source.revision, **options
        )
    except Exception as error:  # whatever the network, the hub and the file formats raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot read {place}: {reason}. Check the name and the connection; a file of your own "
            "ends in .jsonl, .jsonl.gz or .parquet"
        ) from error
