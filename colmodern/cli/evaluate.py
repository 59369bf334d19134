"""colmodern evaluate RUN... --qrels FILE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from colmodern.cli import terminal
from colmodern.cli.compare import FORMATS, comparison_options, comparison_text, print_comparison
from colmodern.cli.options import json_option

if TYPE_CHECKING:
    from colmodern.pipeline.compare.trec_runs import EvaluatedRuns
    from colmodern.report.tables import Table


@click.command("evaluate")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--qrels",
    required=True,
    help="File of judgments, TREC or BEIR, plain or gzipped; or a collection's name or folder.",
)
@click.option("--split", help="Split of a collection's judgments; default: its usual one.")
@click.option(
    "--measure",
    "-m",
    "measures",
    multiple=True,
    help="Measure, for example nDCG@10; default: nDCG@10, RR@10 and R@100.",
)
@click.option("--per-query", is_flag=True, help="Add the measures of each query to the JSON.")
@comparison_options
@json_option
def command(
    runs: tuple[str, ...],
    qrels: str,
    split: str | None,
    measures: tuple[str, ...],
    per_query: bool,
    alpha: float,
    seed: int,
    form: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure TREC runs of any tool, and compare the others with the first.

    RUN is a TREC run, plain or gzipped, or a run folder, of which only the results are read. Prints
    the mean of each measure over all judged queries; of several runs also the differences from the
    first with their tests, and the queries that changed most.
    """
    from colmodern.pipeline.compare.trec_runs import evaluate_runs, read_judged

    form = "json" if as_json else form
    if form == "html" and (output is None or len(runs) == 1):
        raise click.UsageError("--format html needs two runs, and --output, the page to write")
    if per_query and form != "json":
        raise click.UsageError("--per-query needs --json")
    evaluated = evaluate_runs(
        runs, read_judged(qrels, split), measures=measures, alpha=alpha, seed=seed
    )
    if form == "terminal" and output is None:
        _print(evaluated)
        return
    if form == "json" and output is None:
        terminal.put_json(evaluated.as_json(per_query=per_query))
        return
    terminal.put_or_write(_text(evaluated, form, per_query), output)


def _text(evaluated: EvaluatedRuns, form: str, per_query: bool) -> str:
    if form == "json":
        import json

        values = evaluated.as_json(per_query=per_query)
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    if evaluated.comparison is not None:
        return comparison_text(evaluated.comparison, evaluated.systems, form)
    from colmodern.report import tables

    if form == "latex":
        return tables.latex([_measures(evaluated)])
    if form == "markdown":
        notes = "".join(f"\n{note}\n" for note in evaluated.notes)
        return tables.markdown([_measures(evaluated)]) + notes
    raise click.UsageError(f"--output needs --format: {', '.join(FORMATS[1:])}")


def _print(evaluated: EvaluatedRuns) -> None:
    if evaluated.comparison is not None:
        print_comparison(evaluated.comparison)
        return
    from colmodern.cli.tables import show

    show(_measures(evaluated))
    terminal.put_notes(evaluated.notes)


def _measures(evaluated: EvaluatedRuns) -> Table:
    """The measures of a single run."""
    from colmodern.report.tables import text_table

    [(name, evaluation)] = evaluated.evaluations.items()
    n_queries, qrels = len(evaluated.judged.qrels), evaluated.judged.name
    return text_table(
        f"{name}: mean over {n_queries:,} judged queries of {qrels}",
        ["measure", "mean"],
        [[measure, f"{value:.4f}"] for measure, value in evaluation.mean.items()],
    )
