"""The same work in two checkouts, in processes that alternate: what a change of the code costs.

    git worktree add --detach /tmp/before COMMIT
    python experiments/benchmarks/two_trees.py /tmp/before .

Each checkout has processes of its own and its own cache of compiled kernels. A process takes the fastest
repetition of each piece of work; a row has the smallest and the median of these over the processes of a
checkout. Both search the indexes that the first checkout built. Rows are appended to
experiments/results/two_trees.csv.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
from results import append_rows, machine_and_commit

RESULTS = Path(__file__).parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "load",
    "before",
    "after",
    "work",
    "n_processes",
    "before_min_ms",
    "after_min_ms",
    "min_ratio",
    "before_median_ms",
    "after_median_ms",
    "median_ratio",
    "note",
)
SENTENCE = "how to turn text number {} into a date with a format "


WORDS = np.random.default_rng(0).normal(size=(512, 128)).astype(np.float32)


def offsets_of(lengths: list[int]) -> np.ndarray:
    """Where each document begins, and where the last one ends (from public names only)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def tokens_around_words(n_tokens: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (n_tokens, dim), float32, each a random word with noise."""
    values = WORDS[rng.integers(0, len(WORDS), n_tokens)]
    values += 0.8 * rng.normal(size=values.shape).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def documents_of(n_docs: int) -> Any:
    """Documents of 40 to 159 tokens."""
    from colmodern import TokenEmbeddings

    rng = np.random.default_rng(n_docs)
    offsets = offsets_of(rng.integers(40, 160, n_docs).tolist())
    return TokenEmbeddings(tokens_around_words(int(offsets[-1]), rng).astype(np.float16), offsets)


def queries_of(n_tokens: int, n_queries: int) -> list[np.ndarray]:
    """Queries (n_tokens, dim) around the words of the documents."""
    rng = np.random.default_rng(n_tokens)
    return [tokens_around_words(n_tokens, rng) for _ in range(n_queries)]


def build(folder: Path, n_docs: int, nbits: int) -> None:
    """An index of random documents."""
    from colmodern import PlaidIndex

    PlaidIndex.build(documents_of(n_docs), folder, [str(i) for i in range(n_docs)], nbits=nbits)


def pieces_of_work(folder: Path) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Name, work and number of units (queries, builds) of each piece."""
    from colmodern import Encoder, ExactIndex, PlaidIndex, Reranker, TokenEmbeddings

    def together(queries: list[np.ndarray]) -> TokenEmbeddings:
        offsets = offsets_of([len(query) for query in queries])
        return TokenEmbeddings(np.concatenate(queries).astype(np.float16), offsets)

    for nbits in (4, 2):
        index = PlaidIndex.load(folder / f"index-{nbits}", n_threads=1)
        for n_tokens in (12, 32, 48):
            queries = queries_of(n_tokens, 40)
            name = f"{nbits} bits, {n_tokens} tokens"
            yield f"search, {name}", lambda i=index, q=queries: [i.search(x) for x in q], 40
        queries = queries_of(32, 40)
        name = f"{nbits} bits, 32 tokens"
        yield (
            f"search exactly, {name}",
            lambda i=index, q=queries: [i.search(x, exact=True) for x in q],
            40,
        )
        batch = together(queries)
        yield f"search_batch, {name}", lambda i=index, b=batch: i.search_batch(b, k=10), 40
    documents = documents_of(1000)
    ids = [str(i) for i in range(1000)]
    exact = ExactIndex(documents, ids)
    batch = together(queries_of(32, 8))
    one = queries_of(32, 1)[0]
    yield "ExactIndex.search, 1,000 documents", lambda: exact.search(one), 1
    n_short, n_each = 100_000, 4  # where there are many documents of few tokens, ids cost most
    values = tokens_around_words(n_short * n_each, np.random.default_rng(1)).astype(np.float16)
    short_ids = [f"doc{i}" for i in np.random.default_rng(2).permutation(n_short)]
    short = ExactIndex(TokenEmbeddings(values, offsets_of([n_each] * n_short)), short_ids)
    yield "ExactIndex.search, 100,000 documents of 4 tokens", lambda: short.search(one), 1
    yield (
        "ExactIndex, 100,000 documents of 4 tokens",
        lambda: ExactIndex(TokenEmbeddings(values, offsets_of([n_each] * n_short)), short_ids),
        1,
    )
    yield "ExactIndex.search_batch, 1,000 documents", lambda: exact.search_batch(batch, k=10), 8

    def build_index() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            PlaidIndex.build(documents, Path(name) / "index", ids, nbits=4)

    yield "PlaidIndex.build, 1,000 documents", build_index, 1
    encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu")
    texts = [SENTENCE.format(i) * (i % 7 + 1) for i in range(400)]
    yield "encode_documents, 400 texts", lambda: encoder.encode_documents(texts), 1
    yield "encode_queries, one text", lambda: [encoder.encode_queries([t]) for t in texts[:40]], 40
    reranker = Reranker(encoder)
    yield "Reranker.rank, 100 texts", lambda: reranker.rank(texts[0], texts[:100]), 1


def measure(folder: Path, repetitions: int, part_of_name: str) -> dict[str, float]:
    """Milliseconds of a unit of each piece of work with such a name, the fastest repetition."""
    times = {}
    for name, work, n_units in pieces_of_work(folder):
        if part_of_name not in name:
            continue
        work()
        seconds = []
        for _ in range(repetitions):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        times[name] = 1000 * min(seconds) / n_units
    return times


def run(tree: Path, arguments: list[str], folder: Path, cache: str) -> str:
    """Output of this script in a fresh process that imports the package of a checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "COLMODERN_CACHE": str(folder / cache),
        "COLMODERN_WHILE_COMPILING": "wait",
    }
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def commit_of(tree: Path) -> str:
    """The short commit of a checkout."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@click.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--processes", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--repetitions", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--work", "part_of_name", default="", help="Only work with this in its name.")
@click.option("--note", default="")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    before: Path,
    after: Path,
    processes: int,
    repetitions: int,
    part_of_name: str,
    note: str,
    results: Path,
) -> None:
    """Time the same work in the checkouts BEFORE and AFTER, in processes that alternate."""
    trees = {"before": before.resolve(), "after": after.resolve()}
    times: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
    with tempfile.TemporaryDirectory(prefix="two-trees-") as name:
        folder = Path(name)
        for bits in ("4", "2"):
            run(trees["before"], ["build", str(folder / f"index-{bits}"), bits], folder, "before")
        for which in trees:
            run(trees[which], ["measure", str(folder), "1", part_of_name], folder, which)
        load = os.getloadavg()[0]
        for number in range(processes):
            order = ("before", "after") if number % 2 == 0 else ("after", "before")
            for which in order:
                arguments = ["measure", str(folder), str(repetitions), part_of_name]
                times[which].append(json.loads(run(trees[which], arguments, folder, which)))
    rows = []
    for work in times["before"][0]:
        old = [measured[work] for measured in times["before"]]
        new = [measured[work] for measured in times["after"]]
        row = {
            "date": date.today().isoformat(),
            **machine_and_commit(),
            "load": round(load, 1),
            "before": commit_of(before),
            "after": commit_of(after),
            "work": work,
            "n_processes": processes,
            "before_min_ms": round(min(old), 4),
            "after_min_ms": round(min(new), 4),
            "min_ratio": round(min(new) / min(old), 3),
            "before_median_ms": round(float(np.median(old)), 4),
            "after_median_ms": round(float(np.median(new)), 4),
            "median_ratio": round(float(np.median(new) / np.median(old)), 3),
            "note": note,
        }
        click.echo(
            f"{work:45s} {row['before_min_ms']:9.3f} {row['after_min_ms']:9.3f} ms"
            f"  ratio of minima {row['min_ratio']:.3f}, of medians {row['median_ratio']:.3f}"
        )
        rows.append(row)
    append_rows(results / "two_trees.csv", rows, COLUMNS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["build"]:
        build(Path(sys.argv[2]), 5000, int(sys.argv[3]))
    elif sys.argv[1:2] == ["measure"]:
        json.dump(measure(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]), sys.stdout)
    else:
        main()
