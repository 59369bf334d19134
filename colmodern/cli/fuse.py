"""colmodern fuse RUN RUN ... --output RUN."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from colmodern.cli import terminal
from colmodern.cli.options import OUTPUT_FILE, expect_other_file, json_option
from colmodern.errors import InputError
from colmodern.fusion import RRF_K, Fusion
from colmodern.reading import user_path

if TYPE_CHECKING:
    from colmodern.types import ScoredDoc

    Results = dict[str, list[ScoredDoc]]


@click.command("fuse")
@click.argument("runs", nargs=-1, required=True)
@click.option("--output", "-o", required=True, type=OUTPUT_FILE, help="New TREC run.")
@click.option(
    "--fusion",
    type=click.Choice(get_args(Fusion)),
    default="rrf",
    show_default=True,
    help="Sum of 1 / (rrf-k + rank), weighted sum of scores mapped to 0 to 1, or runs by turns.",
)
@click.option("--weights", help="One number for each run, for example 0.3,0.7; default: all alike.")
@click.option("--rrf-k", default=RRF_K, show_default=True, help="How little first ranks differ.")
@click.option("--depth", type=int, help="First documents of each run that count; default: all.")
@click.option("-k", type=int, help="Documents of each query to write; default: all.")
@click.option(
    "--tune",
    help="Judgments that choose the weights, a file or a collection; their queries are left out of the "
    "new run.",
)
@click.option(
    "--tune-split", help="Split of a collection's judgments, for example dev; never test."
)
@click.option("--measure", default="nDCG@10", show_default=True, help="Measure that --tune raises.")
@json_option
def command(
    runs: tuple[str, ...],
    output: Path,
    fusion: Fusion,
    weights: str | None,
    rrf_k: int,
    depth: int | None,
    k: int | None,
    tune: str | None,
    tune_split: str | None,
    measure: str,
    as_json: bool,
) -> None:
    """Fuse TREC RUNS of the same queries, plain or gzipped, into one, and print its path last.

    RUNS are files, or run folders. With --tune, the weights are those with the highest mean of --measure
    on judged queries. These queries are left out of the new run, so that nobody measures it on what it
    was tuned on.
    """
    from colmodern.evaluation.trec import read_run, write_run
    from colmodern.evaluation.tuning import tune_weights
    from colmodern.fusion import fuse
    from colmodern.pipeline.compare.stored_run import trec_file
    from colmodern.pipeline.compare.trec_runs import read_judged

    if len(runs) < 2:
        raise click.UsageError("give two runs or more")
    if tune_split is not None and tune is None:
        raise click.UsageError("--tune-split is the split of --tune, which is missing")
    if tune is not None and (weights is not None or fusion == "interleave"):
        raise click.UsageError("--tune chooses weights of rrf or weighted; leave out --weights")
    files = [trec_file(path) for path in runs]
    expect_other_file(output, files)
    rankings: list[Results] = [read_run(path) for path in files]
    _note_missing_queries(runs, rankings)
    run_weights = None if weights is None else _numbers(weights)
    tuned: dict[str, object] = {}
    if tune is not None:
        _expect_tuning_split(tune, tune_split)
        qrels = read_judged(tune, tune_split).qrels
        best = tune_weights(
            rankings, qrels, measure=measure, fusion=fusion, rrf_k=rrf_k, depth=depth
        )
        run_weights, tuned = list(best.weights), best._asdict()
        rankings = [{q: docs for q, docs in run.items() if q not in qrels} for run in rankings]
        if not any(rankings):
            raise click.UsageError(
                f"every query of the runs is judged in {tune}, so that none is left to fuse; give "
                "--tune the judgments of other queries"
            )
    fused = fuse(rankings, k, fusion=fusion, weights=run_weights, rrf_k=rrf_k, depth=depth)
    write_run(output, fused, tag=f"colmodern-{fusion}")
    if as_json:
        terminal.put_json(
            {"run": str(output), "weights": run_weights, **({"tuned": tuned} if tuned else {})}
        )
        return
    if tuned:
        shares = ", ".join(f"{path} {w:g}" for path, w in zip(runs, run_weights or [], strict=True))
        terminal.say(
            f"weights tuned on {tuned['n_queries']:,} queries: {shares}; {measure} "
            f"{tuned['value']:.4f}, with equal weights {tuned['equal']:.4f}"
        )
    terminal.put(output)


def _expect_tuning_split(tune: str, split: str | None) -> None:
    """UsageError where a collection's split is not named, or is the one that results are reported on."""
    from colmodern.datasets.names import set_defaults

    if split is None and not os.path.isfile(user_path(tune, InputError)):
        raise click.UsageError(f"--tune {tune}: name its split with --tune-split, for example dev")
    if split is not None and split in ("test", set_defaults(tune).split):
        raise click.UsageError(
            f"--tune-split {split}: results are reported on it; give another split"
        )


def _note_missing_queries(paths: Sequence[str], rankings: Sequence[Results]) -> None:
    """Say which runs lack queries of the others; UsageError where one has none of the first run's."""
    query_ids = list(dict.fromkeys(query_id for run in rankings for query_id in run))
    for path, run in zip(paths, rankings, strict=True):
        if run.keys().isdisjoint(rankings[0]):
            raise click.UsageError(
                f"{path} has no query of {paths[0]}; give runs of the same queries"
            )
        if lacking := [query_id for query_id in query_ids if query_id not in run]:
            terminal.say(
                f"{path}: no results for {len(lacking):,} of {len(query_ids):,} queries, the first is "
                f"{lacking[0]!r}"
            )


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise click.UsageError(
            f"--weights {text} is not a list of numbers; write it as 0.3,0.7"
        ) from None
