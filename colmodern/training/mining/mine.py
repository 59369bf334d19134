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
from colmodern.environment import describe_environment
from colmodern.errors import DataError, StorageError
from colmodern.files import remove_leftovers, replacing, write_json
from colmodern.pipeline.open.encoder import encoder_from_config
from colmodern.progress import Progress, as_progress
from colmodern.training.mining.collection import open_collection
from colmodern.training.mining.select import select_negatives
from colmodern.training.mining.stages import Candidates, MiningStages
from colmodern.writer_lock import writer_lock


def run_mine(config: MineConfig, *, progress: Progress | bool | None = None) -> dict[str, Any]:
    """Mine hard negatives into a file of rows of query, documents (positive first) and scores.

    There is a row for each positive of a query that has enough negatives. The facts of the run,
    with all that the rows depend on, are written beside the file, as OUTPUT.json. Embeddings,
    candidates and scores are kept in OUTPUT.work until the file is complete, so an interrupted run
    resumes, and a run with other rules for negatives repeats the selection alone. config.work names
    another folder for them, which is kept.

    Args:
        config: The config of the run.
        progress: True for a bar on stderr.

    Returns:
        The facts of the run: counts, config, data set, encoder, teacher and environment.

    Raises:
        StorageError: The output exists already.
        DataError: The collection is malformed.
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
        stages = MiningStages(config, dataset, encoder, work, progress)
        documents = stages.encode_documents()
        candidates = stages.find_candidates(documents)
        teacher = stages.make_teacher(documents, candidates)
        scores = stages.score(teacher, candidates)
        provenance = {
            "config": config.model_dump(mode="json"),
            "dataset": dataset.description,
            "encoder": encoder.describe(),
            "teacher": teacher.describe(),
            "environment": describe_environment(),
        }
        facts = _write(stages, candidates, scores, provenance=provenance)
    if not config.work:
        shutil.rmtree(work, ignore_errors=True)
    return facts


def _write(
    stages: MiningStages,
    candidates: Sequence[Candidates],
    scores: Sequence[Sequence[float]],
    *,
    provenance: dict[str, Any],
) -> dict[str, object]:
    """Select negatives and write the rows, all or nothing, with the facts beside them."""
    config, dataset = stages.config, stages.dataset
    output = Path(config.output)
    texts = dict(stages.texts_of(candidates))
    dropped: Counter[str] = Counter()
    n_rows = n_short = 0
    with replacing(output) as temporary, _lines(temporary, output) as write:
        for stream, (query, query_scores) in enumerate(zip(candidates, scores, strict=True)):
            positive_texts = {texts[doc_id] for doc_id in query.positives}
            ranks = [
                rank
                for rank, doc_id in enumerate(query.others)
                if texts[doc_id] not in positive_texts
            ]
            dropped["same text as a positive"] += len(query.others) - len(ranks)
            n_positives = len(query.positives)
            other_scores = np.array(
                [query_scores[n_positives + rank] for rank in ranks], np.float32
            )
            for positive, score in zip(query.positives, query_scores, strict=False):
                negatives = select_negatives(
                    score, other_scores, config.negatives, stream=stream, dropped=dropped
                )
                if negatives is None:
                    n_short += 1
                    continue
                ids = [positive, *(query.others[ranks[i]] for i in negatives)]
                row = {
                    "query": dataset.queries[query.query_id],
                    "documents": [texts[doc_id] for doc_id in ids],
                    "scores": [score, *(float(other_scores[i]) for i in negatives)],
                }
                write(json.dumps(row, ensure_ascii=False) + "\n")
                n_rows += 1
        if not n_rows:
            raise DataError(
                f"no query has {config.negatives.number} negatives ({dict(dropped)} dropped); lower "
                "negatives.number or loosen margin, max_share and ranks"
            )
        counts = {"rows": n_rows, "without_enough_negatives": n_short, "dropped": dict(dropped)}
        facts = {**counts, **provenance}
        # written before the rows are renamed: where the rows are, their facts are too
        write_json(output.with_name(f"{output.name}.json"), facts)
    return facts


@contextmanager
def _lines(temporary: Path, output: Path) -> Iterator[Callable[[str], object]]:
    """A function that writes text, gzipped for *.gz; the same rows give the same bytes."""
    with temporary.open("wb") as stream:
        if output.suffix != ".gz":
            yield lambda line: stream.write(line.encode())
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            yield lambda line: packed.write(line.encode())
