"""Hard negatives: find candidates with our index, score them with a teacher, keep what fits."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.config.mine import MineConfig
from colmodern.errors import DataError, StorageError
from colmodern.files import remove_leftovers, replacing, write_json
from colmodern.pipeline.environment import describe_environment
from colmodern.pipeline.load_encoder import encoder_from_config
from colmodern.progress import Progress, as_progress
from colmodern.training.mining.collection import open_collection
from colmodern.training.mining.select import select_negatives
from colmodern.training.mining.stages import Candidates, Stages
from colmodern.writer_lock import writer_lock


def run_mine(config: MineConfig, *, progress: Progress | bool | None = None) -> dict[str, Any]:
    """Write a file of rows of query, documents (the positive first) and scores; return its facts.

    There is a row for each positive of a query that has enough negatives. The facts, with all that
    the rows depend on, are written beside the file, as OUTPUT.json. What is encoded, found and
    scored is kept in OUTPUT.work until the file is whole, so a broken run goes on and another one
    with other negatives only chooses again; config.work is another folder for it, and stays.

    Raises StorageError when the output is there already, DataError for malformed collections.
    """
    progress = as_progress(progress)
    output = Path(config.output)
    if output.exists():
        raise StorageError(f"{output} is there already; remove it or choose another output")
    dataset = open_collection(config)
    encoder = encoder_from_config(config.encoder)
    work = Path(config.work) if config.work else output.with_name(f"{output.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    with writer_lock(work):
        remove_leftovers(work, is_locked=True)
        stages = Stages(config, dataset, encoder, work, progress)
        documents = stages.encode_documents()
        candidates = stages.find(documents)
        teacher = stages.make_teacher(documents, candidates)
        scores = stages.score(teacher, candidates)
        about = {
            "config": config.model_dump(mode="json"),
            "dataset": dataset.description,
            "encoder": encoder.describe(),
            "teacher": teacher.describe(),
            "environment": describe_environment(),
        }
        facts = _write(stages, candidates, scores, about=about)
    if not config.work:
        shutil.rmtree(work, ignore_errors=True)
    return facts


def _write(
    stages: Stages,
    candidates: Sequence[Candidates],
    scores: Sequence[Sequence[float]],
    *,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Choose negatives and write the rows, all or nothing, and beside them what they depend on."""
    config, dataset = stages.config, stages.dataset
    output = Path(config.output)
    texts = dict(stages.texts_of(candidates))
    dropped: Counter[str] = Counter()
    n_rows = n_short = 0
    with replacing(output) as temporary, _lines(temporary, output) as write:
        for stream, (one, found) in enumerate(zip(candidates, scores, strict=True)):
            same = {texts[doc_id] for doc_id in one.positives}
            others = [place for place, doc_id in enumerate(one.others) if texts[doc_id] not in same]
            dropped["same text as a positive"] += len(one.others) - len(others)
            n = len(one.positives)
            of_others = np.array([found[n + place] for place in others], np.float32)
            for positive, score in zip(one.positives, found, strict=False):
                chosen = select_negatives(
                    score, of_others, config.negatives, stream=stream, dropped=dropped
                )
                if chosen is None:
                    n_short += 1
                    continue
                ids = [positive, *(one.others[others[place]] for place in chosen)]
                row = {
                    "query": dataset.queries[one.query_id],
                    "documents": [texts[doc_id] for doc_id in ids],
                    "scores": [score, *(float(of_others[place]) for place in chosen)],
                }
                write(json.dumps(row, ensure_ascii=False) + "\n")
                n_rows += 1
        if not n_rows:
            raise DataError(
                f"no query has {config.negatives.number} negatives ({dict(dropped)} dropped); lower "
                "negatives.number or loosen margin, max_share and ranks"
            )
        counts = {"rows": n_rows, "without_enough_negatives": n_short, "dropped": dict(dropped)}
        facts = {**counts, **about}
        # before the rows get their name: where they are, the facts are
        write_json(output.with_name(f"{output.name}.json"), facts)
    return facts


@contextmanager
def _lines(temporary: Path, output: Path) -> Iterator[Callable[[str], object]]:
    """Writes text, compressed if the output's name says so; the same rows give the same bytes."""
    with temporary.open("wb") as stream:
        if output.suffix != ".gz":
            yield lambda line: stream.write(line.encode())
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            yield lambda line: packed.write(line.encode())
