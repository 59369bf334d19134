"""colmodern rerank DATASET --run RUN --output RUN."""

from __future__ import annotations

from pathlib import Path

import click

from colmodern.cli import terminal
from colmodern.cli.options import (
    OUTPUT_FILE,
    PATH,
    encoder_config,
    encoder_options,
    expect_other_file,
    json_option,
    score_option,
)
from colmodern.cli.overflow import overflow
from colmodern.types import Score


@click.command("rerank")
@click.argument("dataset")
@click.option("--run", "run_path", required=True, type=PATH, help="TREC run.")
@click.option("--output", "-o", required=True, type=OUTPUT_FILE, help="New TREC run.")
@click.option(
    "--depth",
    "-k",
    default=None,
    type=int,
    help="First candidates of each query to rerank; those below follow in their order. Default: all.",
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help="Measure, for example nDCG@10; default: nDCG@10, RR@10 and R@100.",
)
@click.option(
    "--split", help="Split of judgments; default: the usual one of the set, otherwise test."
)
@score_option
@encoder_options
@json_option
def command(
    dataset: str,
    run_path: Path,
    output: Path,
    depth: int | None,
    measures: tuple[str, ...],
    split: str | None,
    score: Score,
    model: str | None,
    revision: str | None,
    device: str,
    dtype: str,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Reorder the candidates of a TREC run by exact MaxSim with the texts of DATASET.

    Prints the measures before and after, where there are judgments, then the path of the new run.
    """
    from colmodern.cli.progress import TerminalProgress
    from colmodern.cli.tables import show
    from colmodern.datasets.load import load_corpus, load_judgments, load_queries
    from colmodern.evaluation.measures import DEFAULT_MEASURES, evaluate, parse_measure
    from colmodern.evaluation.trec import read_run, write_run
    from colmodern.pipeline.machine_faults import ENCODING, check_address_space
    from colmodern.pipeline.open.encoder import encoder_from_config
    from colmodern.pipeline.rerank_run import rerank_run
    from colmodern.report.tables import text_table
    from colmodern.rerank import Reranker

    if model is None:
        raise click.UsageError("give a checkpoint with --model")
    expect_other_file(output, [run_path])
    config = encoder_config(model, revision, device, dtype, settings)
    if config.devices is not None:
        raise click.UsageError("devices share the work of encode and eval; rerank takes a --device")
    names = [str(parse_measure(name)) for name in measures or DEFAULT_MEASURES]
    run = read_run(run_path)
    corpus, queries = load_corpus(dataset, split), load_queries(dataset, split)
    judgments = load_judgments(dataset, split)
    ranker = Reranker(encoder_from_config(config), score=score)
    check_address_space(ENCODING, "encoding")
    with TerminalProgress() as progress:
        reranked = rerank_run(ranker, corpus, queries, run, depth, progress=progress)
    terminal.say(f"documents: {overflow(ranker.facts)}")
    terminal.say(f"queries: {overflow(ranker.query_facts, 'queries')}")
    write_run(output, reranked, tag="colmodern-rerank")
    is_judged = any(query_id in judgments for query_id in run) if judgments else False
    if measures and not judgments:
        terminal.say("no measures: the collection has no judgments")
    if judgments and not is_judged:
        terminal.say("no measures: none of the run's queries is judged")
    before, after = (
        (evaluate(ranking, judgments, names).mean for ranking in (run, reranked))
        if is_judged and judgments
        else ({}, {})
    )
    if as_json:
        terminal.put_json({"run": str(output), "before": before, "after": after})
        return
    if before:
        rows = [[name, f"{value:.4f}", f"{after[name]:.4f}"] for name, value in before.items()]
        show(text_table("", ["measure", "before", "after"], rows))
    terminal.put(output)
